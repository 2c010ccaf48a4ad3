//! Import of made-up Kea files agrees with what was made up, and an export brings the same store back.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{export, leaseq, run, sample, stat, stderr, stdout, text};
use serde_json::{Value, json};

/// The states of a store that Kea's rows must give.
fn expected_states(family: &Value) -> Value {
    let count = |name: &str| family["states"][name].as_u64().unwrap_or(0);
    json!({
        "available": count("deleted"),
        "active": count("leased"),
        "expired": count("lapsed") + count("reclaimed"),
        "released": count("released"),
        "abandoned": count("declined"),
        "reset": 0,
        "remote": 0,
        "transitioning": 0,
    })
}

/// Active leases by an identifier of a relay agent.
fn count_by(
    lines: &[Value],
    family: u64,
    ids: impl Fn(&Value) -> Vec<String>,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in lines
        .iter()
        .filter(|line| line["family"] == family && line["state"] == "active")
    {
        for id in ids(line) {
            *counts.entry(id).or_default() += 1;
        }
    }
    counts
}

fn suboption(line: &Value, code: u8) -> Vec<String> {
    let octets = hex(line["relay_agent_info"].as_str().unwrap_or_default());
    let mut rest = &octets[..];
    let mut found = Vec::new();
    while let [this, length, after @ ..] = rest {
        let (value, after) = after.split_at(usize::from(*length));
        if *this == code {
            found.push(to_hex(value));
        }
        rest = after;
    }
    found
}

fn relay_option(line: &Value, code: u16) -> Vec<String> {
    let mut found = Vec::new();
    for hop in line["relay"].as_array().into_iter().flatten() {
        let octets = hex(hop["options"].as_str().unwrap_or_default());
        let mut rest = &octets[..];
        while let [c1, c2, l1, l2, after @ ..] = rest {
            let (value, after) = after.split_at(usize::from(u16::from_be_bytes([*l1, *l2])));
            if u16::from_be_bytes([*c1, *c2]) == code {
                found.push(to_hex(value));
            }
            rest = after;
        }
    }
    found
}

fn hex(text: &str) -> Vec<u8> {
    leaseq_feed::hex::decode(text.as_bytes()).expect("hex")
}

fn to_hex(octets: &[u8]) -> String {
    leaseq_feed::hex::encode(octets)
}

fn counts(value: &Value) -> BTreeMap<String, u64> {
    serde_json::from_value(value.clone()).expect("counts")
}

#[test]
fn import_agrees_with_what_was_made_up_and_export_brings_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample(dir.path(), 1_200, 12);
    let store = dir.path().join("store");
    let told = run(
        &[
            "import",
            "--data-dir",
            text(&store),
            text(&sample.v4),
            text(&sample.v6),
        ],
        0,
    );
    assert!(told.contains(" 0 rejected"), "{told}");
    let stats = stat(&store);
    assert_eq!(
        stats["v4"]["states"],
        expected_states(&sample.expected["v4"])
    );
    assert_eq!(
        stats["v6"]["states"],
        expected_states(&sample.expected["v6"])
    );
    let bindings =
        stats["v4"]["bindings"].as_u64().unwrap() + stats["v6"]["bindings"].as_u64().unwrap();
    let verified = run(&["store", "verify", "--data-dir", text(&store)], 0);
    assert!(
        verified.ends_with(&format!(" records, {bindings} bindings\n")),
        "{verified}"
    );

    let mut lines = export(&store);
    let (v4, v6) = (&sample.expected["v4"], &sample.expected["v6"]);
    assert_eq!(
        count_by(&lines, 4, |line| suboption(line, 12)),
        counts(&v4["by_relay_id"])
    );
    assert_eq!(
        count_by(&lines, 4, |line| suboption(line, 2)),
        counts(&v4["by_remote_id"])
    );
    assert_eq!(
        count_by(&lines, 6, |line| relay_option(line, 53)),
        counts(&v6["by_relay_id"])
    );
    assert_eq!(
        count_by(&lines, 6, |line| relay_option(line, 37)),
        counts(&v6["by_remote_id"])
    );

    // The same files again change nothing about what is stored.
    run(
        &[
            "import",
            "--data-dir",
            text(&store),
            text(&sample.v4),
            text(&sample.v6),
        ],
        0,
    );
    let again = stat(&store);
    assert_eq!((&again["v4"], &again["v6"]), (&stats["v4"], &stats["v6"]));

    let exported = dir.path().join("export.ndjson");
    fs::write(
        &exported,
        run(&["store", "export", "--data-dir", text(&store)], 0),
    )
    .unwrap();
    let copy = dir.path().join("copy");
    run(&["import", "--data-dir", text(&copy), text(&exported)], 0);
    let mut copied = export(&copy);
    let key = |line: &Value| format!("{}{}", line["address"], line["prefix"]);
    lines = export(&store);
    lines.sort_by_key(key);
    copied.sort_by_key(key);
    assert_eq!(lines.len(), copied.len());
    for (line, copied) in lines.iter().zip(&copied) {
        assert_eq!(line, copied);
    }
    let copied = stat(&copy);
    assert_eq!((&copied["v4"], &copied["v6"]), (&stats["v4"], &stats["v6"]));
}

#[test]
fn rejected_lines_are_told_and_strict_takes_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let file = dir.path().join("leases.ndjson");
    let good = |n: u8| {
        format!(
            "{{\"family\":4,\"address\":\"192.0.2.{n}\",\"state\":\"active\",\"client_id\":\"01{n:02x}\"}}\n"
        )
    };
    fs::write(
        &file,
        format!(
            "{}rubbish\n{}{{\"family\":6,\"address\":\"::1\",\"state\":\"active\"}}\n",
            good(1),
            good(2)
        ),
    )
    .unwrap();
    let strict = leaseq(&[
        "import",
        "--strict",
        "--data-dir",
        text(&store),
        text(&file),
    ])
    .output()
    .unwrap();
    assert_eq!(strict.status.code(), Some(1));
    let told = format!(
        "{0}:2: expected a JSON object\n{0}:4: an active IPv6 lease needs the DUID of its client\n\
         leaseq: 2 lines were rejected: nothing is imported because of --strict\n",
        file.display()
    );
    assert_eq!(stderr(&strict), told);
    assert!(!store.exists());
    let lax = leaseq(&["import", "--data-dir", text(&store), text(&file)])
        .output()
        .unwrap();
    assert_eq!(lax.status.code(), Some(3));
    assert_eq!(stderr(&lax).lines().count(), 2);
    assert!(
        stdout(&lax).ends_with(": 2 rows taken, 2 of them changed something, 2 rejected\n"),
        "{}",
        stdout(&lax)
    );
    assert_eq!(stat(&store)["v4"]["states"]["active"], 2);
}

#[test]
fn files_of_no_known_format_are_refused_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let file = dir.path().join("leases.txt");
    fs::write(&file, "one lease, of somebody\n").unwrap();
    run(&["import", "--data-dir", text(&store), text(&file)], 2);
    run(
        &[
            "import",
            "--data-dir",
            text(&store),
            "--format",
            "kea4",
            text(&file),
        ],
        1,
    );
    run(
        &[
            "import",
            "--data-dir",
            text(&store),
            text(&dir.path().join("missing")),
        ],
        1,
    );
    assert!(!store.exists());
    run(&["store", "stat", "--data-dir", text(&store)], 1);
}

/// Imports a file, expects this exit status, and gives standard output and error.
fn import(store: &Path, file: &Path, status: i32) -> (String, String) {
    let arguments = ["import", "--data-dir", text(store), text(file)];
    let output = leaseq(&arguments).output().unwrap();
    let told = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(status), "{told:?}");
    told
}

#[test]
fn lease_files_of_dhcpd_are_imported() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let v4 = dir.path().join("dhcpd.leases");
    let v6 = dir.path().join("dhcpd6.leases");
    let lease = |address, state, extra| {
        format!(
            "lease {address} {{\n  starts 4 2026/11/19 10:33:11;\n  ends 4 2096/11/19 10:33:11;\n  binding state {state};\n  \
             hardware ethernet 02:00:5e:00:00:01;\n{extra}}}\n"
        )
    };
    let relayed = "  option agent.remote-id \"modem-1\";\n";
    let damaged = "lease 192.0.2.9 {\n  starts 4 20";
    let leases = [
        "# The format of this file is documented in the dhcpd.leases(5) manual page.\n\n".into(),
        lease("192.0.2.1", "active", ""),
        lease("192.0.2.2", "active", relayed),
        damaged.into(),
        "\n".into(),
        lease("192.0.2.3", "abandoned", ""),
        lease("192.0.2.1", "free", ""),
    ];
    fs::write(&v4, leases.concat()).unwrap();
    let (out, err) = import(&store, &v4, 3);
    assert!(
        out.ends_with(": 4 rows taken, 4 of them changed something, 1 rejected\n"),
        "{out}"
    );
    assert!(
        err.contains("dhcpd.leases:16: expected its end, found the next declaration on line 18"),
        "{err}"
    );
    assert!(!err.contains("relay agent"), "{err}");
    fs::write(
        &v6,
        "ia-pd \"\\001\\000\\000\\000\\000\\003\" {\n  cltt 4 2026/11/19 10:33:11;\n  iaprefix 2001:db8:100::/56 {\n    \
         binding state active;\n    preferred-life 300;\n    max-life 600;\n    ends never;\n  }\n}\n",
    )
    .unwrap();
    let (out, err) = import(&store, &v6, 0);
    assert!(out.contains(": 1 rows taken"), "{out}");
    assert!(err.contains("dhcpd writes none into IPv6 leases"), "{err}");
    let states = &stat(&store)["v4"]["states"];
    assert_eq!(
        (
            &states["active"],
            &states["abandoned"],
            &states["available"]
        ),
        (&json!(1), &json!(1), &json!(1))
    );
    let lines = export(&store);
    let relayed = lines.iter().find(|line| line["address"] == "192.0.2.2");
    assert_eq!(relayed.unwrap()["relay_agent_info"], "02076d6f64656d2d31");
    let prefix = lines.iter().find(|line| line["family"] == 6).unwrap();
    assert_eq!(
        (&prefix["prefix"], &prefix["duid"], &prefix["iaid"]),
        (&json!("2001:db8:100::/56"), &json!("0003"), &json!(1))
    );
}

#[test]
fn lease_files_of_dnsmasq_are_imported() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let file = dir.path().join("dnsmasq.leases");
    fs::write(
        &file,
        "4000000000 02:00:5e:00:00:01 192.0.2.1 host 01:02:00:5e:00:00:01\n0 02:00:5e:00:00:02 192.0.2.2 * *\n1000000000 02:03 192.0.2.3 \
         * *\nduid 00:01\n4000000000 7 2001:db8::1 * 00:03\nrubbish\n",
    )
    .unwrap();
    let (out, err) = import(&store, &file, 3);
    assert!(
        out.ends_with(": 4 rows taken, 4 of them changed something, 1 rejected\n"),
        "{out}"
    );
    assert!(
        err.contains("dnsmasq.leases:6: expected 5 fields, found 1"),
        "{err}"
    );
    assert!(err.contains("only newer versions of dnsmasq"), "{err}");
    let stats = stat(&store);
    assert_eq!(stats["v4"]["states"]["active"], 2);
    assert_eq!(stats["v4"]["states"]["expired"], 1);
    assert_eq!(stats["v6"]["states"]["active"], 1);
    for line in export(&store) {
        let end = line["cltt"]
            .as_u64()
            .zip(line["valid_lifetime"].as_u64())
            .map(|(cltt, left)| cltt + left);
        match line["address"].as_str().unwrap() {
            "192.0.2.1" | "2001:db8::1" => assert_eq!(end, Some(4_000_000_000)),
            "192.0.2.2" => assert_eq!(line["valid_lifetime"], 4_294_967_295_u64),
            _ => assert_eq!(line["state_since"], 1_000_000_000),
        }
    }
}

#[test]
fn rows_without_relay_agents_are_remarked_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kea-leases4.csv");
    fs::write(
        &file,
        "address,hwaddr,client_id,valid_lifetime,expire\n192.0.2.1,02:03,,3600,4000000000\n",
    )
    .unwrap();
    let output = leaseq(&[
        "import",
        "--data-dir",
        text(&dir.path().join("store")),
        text(&file),
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("Kea notes relay agents only if \"store-extended-info\" is true"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn damage_is_told_with_its_place_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let sample = sample(dir.path(), 6_000, 4);
    run(&["import", "--data-dir", text(&store), text(&sample.v4)], 0);
    assert!(stat(&store)["log_octets"].as_u64() > Some(0));
    let segment = fs::read_dir(&store)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let segment = segment
        .into_iter()
        .find(|path| path.extension().is_some_and(|found| found == "seg"))
        .unwrap();
    // Within the records of the first batch; others follow it.
    let mut octets = fs::read(&segment).unwrap();
    octets[4_096 + 100] ^= 1;
    fs::write(&segment, octets).unwrap();
    let verify = leaseq(&["store", "verify", "--data-dir", text(&store)])
        .output()
        .unwrap();
    assert_eq!(verify.status.code(), Some(1));
    let place = "offset 4096";
    assert!(stderr(&verify).contains(place), "{}", stderr(&verify));
    let serve = leaseq(&["serve", "--data-dir", text(&store)])
        .output()
        .unwrap();
    assert_eq!(
        (serve.status.code(), stdout(&serve)),
        (Some(1), String::new())
    );
    assert!(stderr(&serve).contains(place), "{}", stderr(&serve));
}
