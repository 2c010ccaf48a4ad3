//! The status page in a browser.

use std::path::Path;
use std::process::Command;

use crate::common::stderr;
use crate::http::get;
use crate::peer;
use crate::setup::{FEED_TEXT, Setup};

/// Virtual time that the page is given, in milliseconds: two looks at the status.
const BUDGET_MS: u32 = 5_000;

/// The document after the page has looked at the status; none without a browser.
fn rendered(url: &str, profile: &Path) -> Option<String> {
    let chromium = peer::find("chromium", "chromium")?;
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--virtual-time-budget={BUDGET_MS}"))
        .args(["--dump-dom", url])
        .output()
        .expect("chromium");
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    // What the page logs, such as an error or what its policy forbids.
    assert!(!said.contains(":CONSOLE"), "{said}");
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

/// The text of the first element of this id, without its markup.
fn text_of<'a>(html: &'a str, id: &str) -> &'a str {
    let at = html
        .find(&format!("id=\"{id}\""))
        .unwrap_or_else(|| panic!("no {id} in {html}"));
    let rest = &html[at..];
    let from = rest.find('>').expect("an end") + 1;
    let end = ["</tbody>", "</dl>", "</p>", "</ul>"];
    let to = end.iter().filter_map(|end| rest.find(end)).min();
    &rest[from..to.expect("an end")]
}

#[test]
fn the_page_shows_bindings_feeds_and_requestors() {
    let setup = Setup::start();
    let url = format!("http://{}/", setup.admin());
    let Some(html) = rendered(&url, &setup.dir.path().join("profile")) else {
        return;
    };
    assert_eq!(text_of(&html, "state"), "ready");
    let bindings = text_of(&html, "bindings");
    assert!(
        bindings.contains("<th scope=\"row\">active</th><td class=\"n\">2</td>"),
        "{bindings}"
    );
    // What a feed is called stays text.
    let feeds = text_of(&html, "feeds");
    let escaped = FEED_TEXT
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    assert!(feeds.contains(&escaped), "{escaped} is not in {feeds}");
    assert!(
        feeds.contains("following") && feeds.contains("line 4 of a writer"),
        "{feeds}"
    );
    let connections = text_of(&html, "connections");
    assert!(
        connections.contains(&setup.requestor().to_string()),
        "{connections}"
    );
    assert!(text_of(&html, "limits").contains("1 of 50"));
    // The second look has made rates of what the first one told.
    let tiles = text_of(&html, "tiles");
    assert!(tiles.contains("<dt>Changes/s</dt><dd>0</dd>"), "{tiles}");
}

#[test]
fn the_page_may_run_its_own_script_and_nothing_else() {
    let setup = Setup::start();
    let page = get(setup.admin(), "/");
    assert_eq!(page.field("cache-control"), "no-store");
    assert_eq!(page.field("x-content-type-options"), "nosniff");
    let policy = page.field("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-")
            && !policy.contains("unsafe")
            && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
}
