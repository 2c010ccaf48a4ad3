use std::fmt::Write as _;

use super::*;

fn tell(text: &str, set: &[&str]) -> String {
    let overrides: Vec<Override> = set
        .iter()
        .map(|text| Override::read(text).unwrap())
        .collect();
    match parse(Path::new("x.toml"), text, &overrides) {
        Ok(_) => "good".to_owned(),
        Err(error) => error.to_string(),
    }
}

const GROUP: &str = "[[group]]\nname = \"one\"\nfamily = 4\nbehaviour = \"recover\"\n";

#[test]
fn every_built_in_scenario_is_good_and_says_what_it_is_for() {
    for built_in in built_in::ALL {
        let named = read(built_in.name, &[]).unwrap();
        assert_eq!(named.name, built_in.name);
        assert!(!named.scenario.about.is_empty(), "{}", built_in.name);
    }
}

#[test]
fn a_scenario_travels_whole() {
    for built_in in built_in::ALL {
        let scenario = read(built_in.name, &[]).unwrap().scenario;
        let json = serde_json::to_string(&scenario).unwrap();
        let read: Scenario = serde_json::from_str(&json).unwrap();
        assert_eq!(read, scenario, "{}", built_in.name);
    }
}

#[test]
fn a_scenario_that_is_not_there_is_told() {
    let error = read("strom", &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"strom\" is neither a file nor a built-in scenario; did you mean `storm`?"
    );
    let error = read("/does/not/exist.toml", &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/does/not/exist.toml: cannot be read: No such file"),
        "{error}"
    );
}

#[test]
fn the_last_option_counts_and_is_blamed() {
    let set = ["data.relays=5", "data.relays=7"];
    let overrides = set.map(|text| Override::read(text).unwrap());
    let scenario = parse(Path::new("x.toml"), GROUP, &overrides).unwrap();
    assert_eq!(scenario.data.relays, 7);
    assert_eq!(
        tell(GROUP, &["data.relays=5", "data.relays=0"]),
        "--set data.relays=0: expected at least 1, found 0"
    );
    assert_eq!(
        tell(GROUP, &["data.relys=5"]),
        "--set data.relys=5: unknown key `relys`; did you mean `relays`?"
    );
    assert_eq!(
        tell(GROUP, &["group.one.at-once=many"]),
        "--set group.one.at-once=many: expected a number, a share such as \"10%\", or \"all\", found \"many\""
    );
    assert_eq!(
        tell(GROUP, &["group.one.rate=5"]),
        "--set group.one.rate=5: `rate` is not for a group that does \"recover\", which has tls, by, rounds, pause; it is for udp"
    );
}

/// Each text is put behind a good group, but for those that begin with `!`.
const WRONG: &[&str] = &[
    "!",
    "!relays = 5",
    "!duratoin = \"5s\"",
    "!duration = 5",
    "!duration = \"5\"",
    "!duration = \"0s\"\n[[group]]\nname = \"a\"\nfamily = 4\nbehaviour = \"recover\"",
    "!patience = \"5ms\"\n[[group]]\nname = \"a\"\nfamily = 4\nbehaviour = \"recover\"",
    "!kind = \"load\"\n[limits]\nmax-connections = 5",
    "!kind = \"limits\"",
    "!kind = \"limits\"\n[limits]\nmax-connections = 0",
    "!kind = \"limits\"\n[limits]\nmax-connections = 5\n[changes]\nper-second = 5",
    "!kind = \"timeouts\"\n[timeouts]\ntolerance = \"1s\"",
    "!kind = \"timeouts\"\n[timeouts]\nbulk-idle = \"0s\"",
    "[timeouts]\nbulk-idle = \"5s\"",
    "[[group]]\nname = \"a b\"\nfamily = 4\nbehaviour = \"recover\"",
    "[[group]]\nname = \"one\"\nfamily = 4\nbehaviour = \"recover\"",
    "[[group]]\nname = \"two\"\nfamily = 5\nbehaviour = \"recover\"",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"recovers\"",
    "[[group]]\nname = \"two\"\nfamily = 4",
    "by = \"link\"",
    "by = \"address\"",
    "rate = 5",
    "queries = 5",
    "catch-up = \"all\"",
    "relays = 0",
    "relays = -1",
    "relays = \"110%\"",
    "at-once = \"0%\"",
    "rounds = 0",
    "rounds = \"forever\"",
    "source = \"::1\"",
    "source = \"127.0.0.0/33\"",
    "[[group]]\nname = \"two\"\nfamily = 6\nbehaviour = \"recover\"\nby = \"all\"",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"follow\"\nby = \"link\"",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"follow\"\nat-once = 5",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"follow\"\ncatch-up = \"some\"",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"follow\"\nrounds = 2",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"udp\"\nby = \"relay-id\"",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"udp\"\nrate = 0.0",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"udp\"\nrate = 5.0\nin-flight = 0",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"udp\"\nrate = 5.0\nin-flight = 1000001",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"udp\"\nin-flight = 5",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"udp\"\ntls = true",
    "[[group]]\nname = \"two\"\nfamily = 6\nbehaviour = \"udp\"\nby = \"hwaddr\"",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"parallel\"\nqueries = 0",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"read-slowly\"\noctets-per-second = 0",
    "[[group]]\nname = \"two\"\nfamily = 4\nbehaviour = \"silent\"\nby = \"relay-id\"",
    "[data]\nrelays = 0",
    "[data]\nrelays = 2000000\nbindings-per-relay = 1",
    "[data]\nrelays = 1000000\nbindings-per-relay = 17",
    "[changes]",
    "[changes]\nper-second = -1.0",
    "[changes]\nper-second = 5\nbindings = 0",
    "[changes]\nper-second = 5\nrelease-percent = 101",
    "[target]\nfeed = \"x\"",
    "[target]\nexpect = \"x\"",
    "[target]\nserver4 = \"192.0.2.1\"",
    "[target]\nserver4 = \"[::1]:67\"",
    "[target]\nserver6 = \"[::1]:547\"",
    "[target]\nserver4 = \"192.0.2.1:67\"\n[changes]\nper-second = 5",
    "[target]\nserver4 = \"192.0.2.1:67\"\nfeed = \"x\"\n[changes]\nper-second = 5",
    "[target]\nserver4 = \"192.0.2.1:67\"\n[sweep]\nrelays = [1]",
    "tls = true\n[target]\nserver4 = \"192.0.2.1:67\"",
    "[tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\nserver-name = \"d\"",
    "[sweep]",
    "[sweep]\nrelays = []",
    "[sweep]\nrelays = [5, 0]",
    "[sweep]\nchanges-per-second = [5]",
    "[sweep]\nudp-rate = [5]",
    "[sweep]\nbindings-per-relay = [100, 200000]",
    "[require]\nslowest-to-median = 0.5",
    "[require.at-least]\nbinding = 5",
    "[require.at-least]\nbindings = -5",
    "[target]\nserver4 = \"192.0.2.1:67\"\n[require]\nmemory-growth-percent = 5",
];

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let mut all = String::new();
    for wrong in WRONG {
        let text = match wrong.strip_prefix('!') {
            Some(text) => text.to_owned(),
            None => format!("{GROUP}{wrong}\n"),
        };
        let _ = writeln!(all, "{wrong}\n  => {}\n", tell(&text, &[]));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn more_than_the_machine_has_is_told() {
    let text = format!("{GROUP}[data]\nrelays = 900000\nbindings-per-relay = 1\n");
    let told = tell(&text, &[]);
    assert!(
        told.starts_with(
            "x.toml:1:1: all groups have 900000 relays at a time, so the server needs"
        ),
        "{told}"
    );
    assert!(told.ends_with("(ulimit -Hn)"), "{told}");
    let text = format!("processes = 1\n{text}");
    let told = tell(&text, &[]);
    assert!(
        told.starts_with("x.toml:1:13: 900000 relays at a time in 1 processes need 900200"),
        "{told}"
    );
}
