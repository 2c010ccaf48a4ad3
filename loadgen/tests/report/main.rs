//! The report's page out of results of a server whose costs are known: its structure, its answers, what it refuses.

mod fixture;

use fixture::{NEW, OLD};
use leaseq_loadgen::report::{ReportError, page, read, read_all, write};
use leaseq_loadgen::result::RunResult;

fn named(results: Vec<RunResult>) -> Vec<(String, RunResult)> {
    results
        .into_iter()
        .enumerate()
        .map(|(index, result)| (format!("{}-{index}.json", result.name), result))
        .collect()
}

fn everything() -> Vec<(String, RunResult)> {
    named(vec![
        fixture::sweep(OLD),
        fixture::rates(OLD),
        fixture::udp(OLD),
        fixture::soak(OLD),
        fixture::limits(OLD, "v4"),
    ])
}

/// Well-formed, with no figure that is none, no element that HTML would read otherwise, and nothing from elsewhere.
fn check(page: &str) {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(page, options).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let tag = node.tag_name().name();
        assert!(
            ![
                "script", "link", "img", "iframe", "object", "embed", "base", "form", "image",
                "use"
            ]
            .contains(&tag),
            "<{tag}> is in the page"
        );
        for attribute in node.attributes() {
            assert!(
                !["src", "href", "style", "srcset", "action", "background"]
                    .contains(&attribute.name()),
                "{attribute:?}"
            );
            assert!(!attribute.name().starts_with("on"), "{attribute:?}");
            if ["d", "x", "y", "x1", "x2", "y1", "y2"].contains(&attribute.name()) {
                assert!(
                    !attribute.value().contains("NaN") && !attribute.value().contains("inf"),
                    "{attribute:?}"
                );
            }
        }
        if let Some(id) = node.attribute("id") {
            assert!(ids.insert(id), "two elements have the id {id}");
        }
        if tag == "svg" && node.attribute("role") == Some("img") {
            let labels = node.attribute("aria-labelledby").unwrap();
            for label in labels.split(' ') {
                assert!(
                    node.descendants()
                        .any(|inner| inner.attribute("id") == Some(label)),
                    "{label}"
                );
            }
        }
    }
    for table in document
        .descendants()
        .filter(|node| node.has_tag_name("table"))
    {
        check_table(table);
    }
    let text: String = document
        .root()
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    assert!(
        !text.contains("NaN") && !text.contains("inf%"),
        "a figure is none"
    );
    let style = document
        .descendants()
        .find(|node| node.has_tag_name("style"))
        .unwrap()
        .text()
        .unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(page.contains("default-src &#39;none&#39;"));
}

/// Every row fills all columns, with the cells of rows above that reach into it.
fn check_table(table: roxmltree::Node<'_, '_>) {
    let cells = |row: roxmltree::Node<'_, '_>| -> Vec<usize> {
        row.children()
            .filter(|cell| cell.has_tag_name("td") || cell.has_tag_name("th"))
            .map(|cell| {
                cell.attribute("rowspan")
                    .map_or(1, |rows| rows.parse().unwrap())
            })
            .collect()
    };
    let head = table
        .descendants()
        .find(|node| node.has_tag_name("thead"))
        .unwrap();
    let columns = cells(head.first_element_child().unwrap()).len();
    for body in table.children().filter(|node| node.has_tag_name("tbody")) {
        let mut reaching: Vec<usize> = Vec::new();
        for row in body.children().filter(|node| node.has_tag_name("tr")) {
            let spans = cells(row);
            assert_eq!(
                reaching.len() + spans.len(),
                columns,
                "{:?}",
                row.descendants()
                    .filter_map(|n| n.text())
                    .collect::<Vec<_>>()
            );
            reaching.extend(spans);
            reaching.iter_mut().for_each(|rows| *rows -= 1);
            reaching.retain(|rows| *rows > 0);
        }
        assert!(reaching.is_empty());
    }
}

fn text(page: &str) -> String {
    page.replace('\u{a0}', " ").replace("&#39;", "'")
}

#[test]
fn a_whole_report_answers_everything() {
    let page = page(&everything());
    check(&page);
    let text = text(&page);
    for part in [
        "All 5,000 relays with 1,000 bindings each (5,000,000 told) recovered at once",
        "Recovery time against relays, 1,000 bindings each",
        "Recovery time against bindings, 5,000 relays",
        "All relays of the largest storm",
        "Throughput against connections",
        "CPU against connections",
        "Propagation by percentile",
        "Propagation against rate",
        "UDP latency by percentile",
        "UDP latency against rate",
        "Memory against bindings",
        "Memory against connections",
        "Memory of the server: soak, 2 h",
        "From the first quarter to the last: resident +",
        "1.5 µs a binding told",
        "1.1 µs a binding told",
        "8 µs a message of a stream",
        "30 µs a change taken",
        "20 µs a UDP query",
        "150 µs a relay that recovers",
        "420 B a binding stored",
        "extrapolated",
        "not measured",
        "101 accepted",
        "behaviour = &quot;recover&quot;",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(
        !text.contains("Not shown"),
        "{}",
        &text[text.find("Not shown").unwrap()..][..200]
    );
}

#[test]
fn costs_are_told_apart_in_runs_that_do_everything_at_once() {
    let page = page(&named(vec![fixture::together(OLD)]));
    check(&page);
    let text = text(&page);
    for part in [
        "All 400 relays with 1,000 bindings each",
        "Recovery time against relays, 1,000 bindings each",
        "UDP latency against rate",
        "Propagation against rate",
        "the line goes through their median",
        "1.1 µs a binding told",
        "20 µs a UDP query",
        // A message went along with each change.
        "38 µs a change taken",
        "do not tell these apart from the others, whose costs theirs is in: u2·messages.",
    ] {
        assert!(text.contains(part), "{part}");
    }
    // Three numbers of connections are too few for a law, but nothing else is missing.
    assert_eq!(text.matches("No model").count(), 1);
    assert!(text.contains("No model of throughput"));
}

/// What the model of that name was fitted to, as its page says: the cells of its row.
fn model_row(page: &str, name: &str) -> Option<Vec<String>> {
    rows(page, "Models and their errors")
        .into_iter()
        .find(|row| row[0] == name)
}

/// The texts of a table's cells by row.
fn rows(page: &str, caption: &str) -> Vec<Vec<String>> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(page, options).unwrap();
    let is_it = |table: &roxmltree::Node<'_, '_>| {
        let mut captions = table.children().filter(|node| node.has_tag_name("caption"));
        captions.any(|node| node.text().is_some_and(|text| text.starts_with(caption)))
    };
    let table = document.descendants().find(is_it).unwrap();
    let rows = table.descendants().filter(|node| {
        node.has_tag_name("tr") && node.parent().is_some_and(|p| p.has_tag_name("tbody"))
    });
    let texts = |row: roxmltree::Node<'_, '_>| {
        let cells = row.children().filter(roxmltree::Node::is_element);
        cells
            .map(|cell| cell.text().unwrap_or_default().replace('\u{a0}', " "))
            .collect()
    };
    rows.map(texts).collect()
}

#[test]
fn points_of_other_work_do_not_bend_a_model() {
    let alone = page(&named(vec![fixture::sweep(OLD)]));
    let beside = page(&named(vec![fixture::sweep(OLD), fixture::together(OLD)]));
    check(&beside);
    for name in ["Recovery of all, T", "Throughput, X"] {
        let row = model_row(&alone, name).unwrap();
        assert_eq!(model_row(&beside, name), Some(row), "{name}");
    }
    let text = text(&beside);
    assert!(text.contains("with about 1,000 bindings a query: recover (DHCPv4, relay-id)."));
    assert!(text.contains("Fitted to storms that all do the same: recover (DHCPv4, relay-id)."));
    // Each kind of work has lines of its own.
    assert!(text.contains("1,000 bindings each, sweep, 50 changes/s, 200 UDP queries/s"));
}

#[test]
fn a_law_that_does_not_hold_is_not_drawn() {
    let good = text(&page(&named(vec![fixture::sweep(OLD)])));
    assert!(good.contains(">scalability law<"));
    let mut result = fixture::sweep(OLD);
    for (number, point) in result.points.iter_mut().enumerate() {
        for group in &mut point.groups {
            group.seconds *= [1.0, 9.0, 2.0, 20.0][number % 4];
        }
    }
    let page = page(&named(vec![result]));
    check(&page);
    let told = text(&page);
    assert!(
        told.contains("No model of throughput. The best one explains"),
        "{told}"
    );
    assert!(told.contains("No scalability law is drawn. The best one explains"));
    assert!(!told.contains(">scalability law<"));
    assert_eq!(model_row(&page, "Throughput, X"), None);
}

#[test]
fn rates_of_changes_that_were_nearly_reached_are_not_extrapolated() {
    let marks = |share: f64| -> Vec<bool> {
        let mut result = fixture::rates(OLD);
        result
            .points
            .retain(|point| point.changes_per_second <= 1_000.0);
        // The last changes are acknowledged, and relays told, after the end.
        for point in &mut result.points {
            let changes = point.changes.as_mut().unwrap();
            changes.acknowledged = (changes.acknowledged as f64 * share) as u64;
            point.seconds += 3.0;
        }
        let page = page(&named(vec![fixture::sweep(OLD), result]));
        let rows = rows(&page, "Recovery of all relays at once");
        let of_thousand = rows.into_iter().filter_map(|row| {
            let at = row.len() - 3;
            (row[at] == "1,000").then(|| row[at + 1].contains("extrapolated"))
        });
        of_thousand.collect()
    };
    assert_eq!(marks(0.97), [false; 15]);
    assert_eq!(marks(0.8), [true; 15]);
}

#[test]
fn what_saturates_first_is_a_word_and_a_figure() {
    let page = page(&everything());
    let rows = rows(&page, "Recovery of all relays at once");
    let told: Vec<&str> = rows
        .iter()
        .filter_map(|row| Some(row.last()?.as_str()))
        .collect();
    assert!(told.contains(&"open files, 20,064"), "{told:?}");
    assert!(told.contains(&"open files, 50,064"), "{told:?}");
    // Where nothing is short, what held the largest storm up.
    assert!(told.iter().any(|text| text.ends_with('%')), "{told:?}");
    assert!(told.iter().all(|text| text.len() <= 24), "{told:?}");
}

#[test]
fn propagation_of_scenarios_and_kinds_of_streams_is_not_mixed() {
    let results = named(vec![fixture::rates(OLD), fixture::unscoped(OLD)]);
    let page = page(&results);
    check(&page);
    let told = text(&page);
    for part in [
        "99 %, changes, own bindings",
        "median, unscoped, everything",
        "1,000/s, unscoped, everything",
        "5,000/s, changes, own bindings",
    ] {
        assert!(told.contains(part), "{part}");
    }
    let rows = rows(&page, "Propagation against rate");
    let cells = |rate: &str| rows.iter().find(|row| row[0] == rate).unwrap().clone();
    // Two points of the one scenario and one of the other.
    assert_eq!(cells("1,000")[1].matches(';').count(), 1);
    assert!(!cells("1,000")[3].contains(';') && cells("5,000")[3].is_empty());
}

#[test]
fn what_is_missing_is_named_with_the_scenario_that_gives_it() {
    let text = text(&page(&named(vec![fixture::storm(OLD)])));
    check(&text.replace("default-src 'none'", "default-src &#39;none&#39;"));
    for part in [
        "Not shown: recovery time against relays. It takes storms of different numbers of relays with the same bindings each; the scenario “sweep”",
        "Not shown: propagation of changes",
        "Not shown: UDP latency",
        "Not shown: timelines",
        "Not shown: limits and timeouts",
        "No model of recovery of all",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(text.contains("All 5,000 relays"));
}

#[test]
fn two_versions_stand_side_by_side() {
    let results = named(vec![
        fixture::storm(OLD),
        fixture::udp(OLD),
        fixture::storm(NEW),
        fixture::udp(NEW),
        fixture::sweep(NEW),
    ]);
    let page = page(&results);
    check(&page);
    let text = text(&page);
    assert!(text.contains("leaseq 0.2.0 against leaseq 0.1.0"));
    assert!(text.contains("Server: leaseq 0.2.0 against leaseq 0.1.0"));
    assert!(text.contains("0.7 ×") && text.contains("✓ better") && !text.contains("✗ worse"));
    assert!(text.contains("Recovery, storm: 5,000 relays, 5,000,000 bindings"));
    assert!(text.contains("propagation, own bindings, 99 %"));
    // The comparison is what the page was made for: it stands before the rest.
    assert!(text.find("Side by side").unwrap() < text.find("Where and how").unwrap());
    let turned = named(vec![fixture::storm(NEW), fixture::storm(OLD)]);
    assert!(self::text(&self::page(&turned)).contains("✗ worse"));
}

#[test]
fn results_without_a_common_point_stand_one_after_the_other() {
    let page = page(&named(vec![fixture::storm(OLD), fixture::udp(NEW)]));
    check(&page);
    assert!(page.contains("They have no point in common"));
}

#[test]
fn two_runs_of_one_server_are_told_apart() {
    let mut results = named(vec![fixture::storm(OLD), fixture::storm(OLD)]);
    let page = |results: &[(String, RunResult)]| {
        let page = page(results);
        check(&page);
        page
    };
    let same = page(&results);
    assert!(same.contains("leaseq 0.1.0 (storm-1) against leaseq 0.1.0 (storm-0)"));
    assert!(same.contains("Both ran in the same environment") && same.contains("the\u{a0}same"));
    assert!(!same.contains("What was set differently"));
    let limits = toml::toml! { [limits] "max-connections" = 7 };
    results[1].1.scenario.server.config = limits;
    results[1].1.scenario.group[0].at_once = toml::Value::from("50%").try_into().unwrap();
    let other = text(&page(&results));
    assert!(other.contains("storm, server.config.limits.max-connections: 7 against not set"));
    assert!(
        other.contains("storm, group.recovering.at-once: &quot;50%&quot; against &quot;all&quot;")
    );
    results[1].0 = results[0].0.clone();
    let page = page(&results);
    assert!(
        page.contains("leaseq 0.1.0 (storm-0), 1") && page.contains("leaseq 0.1.0 (storm-0), 2")
    );
    assert!(page.contains("Both ran in the same environment"));
}

#[test]
fn names_out_of_files_cannot_leave_their_place() {
    let hostile = "</td></table><script src=\"https://example.net/x.js\">alert('1')</script>\u{0}\u{202e}&amp;<!-- ]]>";
    let mut results = named(vec![
        fixture::limits(OLD, hostile),
        fixture::storm(OLD),
        fixture::soak(OLD),
    ]);
    for (file, result) in &mut results {
        result.name.push_str(hostile);
        file.push_str(hostile);
        result.started = hostile.into();
        result.scenario.about = hostile.into();
        result.environment.server = Some(hostile.into());
        result.environment.cpu = hostile.into();
        for point in &mut result.points {
            point.bottleneck.reasons.push(hostile.into());
        }
    }
    let page = page(&results);
    check(&page);
    assert!(page.contains("&lt;script src=&quot;") && !page.contains("<script"));
}

#[test]
fn wild_figures_and_empty_results_do_not_break_it() {
    let mut results = named(vec![
        fixture::empty(OLD),
        fixture::storm(OLD),
        fixture::soak(OLD),
        fixture::rates(OLD),
    ]);
    check(&page(&results));
    for (index, wild) in [0.0, -1.0, 1e308, 1e-308].into_iter().enumerate() {
        for (_, result) in &mut results {
            result.seconds = wild;
            result.environment.cpus = if index == 0 { 0 } else { u32::MAX };
            result.environment.memory = if index == 0 { 0 } else { u64::MAX };
            for point in &mut result.points {
                (
                    point.seconds,
                    point.changes_per_second,
                    point.udp_per_second,
                ) = (wild, wild, wild);
                (point.bindings, point.bindings_per_relay) = (u64::MAX, wild);
                for group in &mut point.groups {
                    group.seconds = wild;
                }
                for sample in &mut point.samples {
                    sample.at = wild;
                    sample.server_cpus = Some(wild);
                    sample.udp = Some([wild, -wild]);
                }
            }
        }
        check(&page(&results));
    }
}

#[test]
fn an_interrupted_run_and_a_slow_generator_are_told() {
    let mut result = fixture::storm(OLD);
    result.interrupted = true;
    result.points[0]
        .bottleneck
        .reasons
        .push("its busiest thread used 99 % of a core".into());
    result.points[0].groups[0].relays = 5_010;
    result.points[0].groups[0].at_once = 5_010;
    let text = text(&page(&named(vec![result])));
    for part in [
        "; interrupted",
        "its busiest thread used 99 % of a core",
        "The load generator was a bottleneck",
        "10 relays did not recover",
        "5,000 of 5,010 relays",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn files_that_are_no_results_are_refused_with_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let good = serde_json::to_string(&fixture::storm(OLD)).unwrap();
    let told = |text: &str| {
        let file = dir.path().join("some.json");
        std::fs::write(&file, text).unwrap();
        let told = read(&file).unwrap_err().to_string();
        assert!(told.contains("some.json: "), "{told}");
        told
    };
    assert!(told("relays = 3").contains("it is no JSON: expected value at line 1 column 1"));
    assert!(told(&good[..good.len() / 2]).contains("it is no JSON: EOF while parsing"));
    assert!(told("[1, 2]").contains("it has no \"format\""));
    assert!(told("{\"name\": 1}").contains("it has no \"format\""));
    assert!(told("{\"format\": 7}").contains("expected a result of format 1, found format 7"));
    assert!(told("{\"format\": 1}").contains("no valid result of format 1: missing field `name`"));
    assert!(
        told(&good.replacen("\"seconds\":", "\"seconds\":\"x\",\"_\":", 1))
            .contains("invalid type: string")
    );
    let missing = read(&dir.path().join("none.json")).unwrap_err();
    assert!(
        matches!(missing, ReportError::Read { .. }) && missing.to_string().contains("none.json")
    );
}

#[test]
fn results_travel_through_files_to_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("storm.json");
    std::fs::write(&file, serde_json::to_string(&fixture::storm(OLD)).unwrap()).unwrap();
    let results = read_all(&[file]).unwrap();
    assert_eq!(results[0].0, "storm.json");
    let out = dir.path().join("report.html");
    write(&results, &out).unwrap();
    check(&std::fs::read_to_string(&out).unwrap());
    assert!(matches!(write(&[], &out), Err(ReportError::NoResults)));
    let nowhere = write(&results, &dir.path().join("none/report.html")).unwrap_err();
    assert!(
        nowhere
            .to_string()
            .contains("none/report.html: cannot be written"),
        "{nowhere}"
    );
}
