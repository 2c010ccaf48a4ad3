//! Plots as SVG: axes, lines, markers, and the same figures in a table beneath.
//!
//! Series differ by marker and dash as well as by colour. Text has the size of the page's text on a wide screen and stays
//! readable at the width of a phone, because a plot is drawn no wider than one.

use super::html::Html;
use super::number::Unit;
use super::scale::Scale;
use super::table::{Align, Cell, Table};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 44.0;
/// Distance of labels beneath one another.
const LINE: f64 = 14.0;
/// Width of a letter, about; and of one in bold, amply.
const LETTER: f64 = 6.8;
const BOLD: f64 = 7.6;
/// The longest name that is written at the end of its line.
const DIRECT: usize = 12;
/// Points of a line beyond which only [`FEW`] have a marker.
const MARKERS: usize = 25;
const FEW: usize = 8;
/// Points of a line beyond which it is not dashed: it may be too restless for that.
const DASHED: usize = 80;
/// Rows of a plot's table.
const ROWS: usize = 250;

/// A plot.
#[derive(Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The same for whoever cannot see it, and what is to be seen.
    pub about: String,
    /// The axis from left to right.
    pub x: Axis,
    /// The axis from bottom to top.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
    /// A remark beneath.
    pub note: Option<String>,
}

/// An axis.
#[derive(Debug)]
pub struct Axis {
    /// What it measures.
    pub label: String,
    /// In which unit.
    pub unit: Unit,
    /// On which scale.
    pub scale: Scale,
}

/// Points that belong together.
#[derive(Debug)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// Their values; what has no place on the scales is left out.
    pub points: Vec<(f64, f64)>,
    /// Number of its colour.
    pub colour: usize,
    /// Number of its marker and dash.
    pub shape: usize,
    /// How it is drawn.
    pub drawn: Drawn,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// A line through markers.
    Line,
    /// Markers alone.
    Markers,
    /// A thin line without markers: what a model says.
    Model,
}

/// Where a point is drawn, and its values.
type Place = ((f64, f64), (f64, f64));

/// Colours there are.
const COLOURS: usize = 6;
const DASHES: [&str; 6] = ["", "7 3", "2 3", "9 3 2 3", "4 2", "1 2"];

impl Series {
    fn dash(&self) -> &'static str {
        match self.drawn {
            Drawn::Model => "1 4",
            _ if self.points.len() > DASHED => "",
            _ => DASHES[self.shape % DASHES.len()],
        }
    }
}

impl Plot {
    /// There is something to draw.
    #[must_use]
    pub fn has_points(&self) -> bool {
        self.series
            .iter()
            .any(|series| self.places(series).next().is_some())
    }

    /// Writes it with its table; nothing if it has no points.
    pub fn write(&self, html: &mut Html) {
        if !self.has_points() {
            return;
        }
        html.element("figure", &[("class", "plot")], |html| {
            html.leaf("figcaption", &[], &self.title);
            if !self.is_direct() && self.series.len() > 1 {
                self.write_legend(html);
            }
            self.write_svg(html);
            if let Some(note) = &self.note {
                html.leaf("p", &[("class", "note")], note);
            }
            if self.series.iter().any(|series| series.drawn == Drawn::Line && has_columns(&series.points)) {
                html.leaf("p", &[("class", "note")], "Where several points stand above one another, the line goes through their median.");
            }
            html.element("details", &[], |html| {
                html.leaf("summary", &[], "Figures");
                self.table().write(html);
            });
        });
    }

    /// Names are short enough to be written at the ends of the lines.
    fn is_direct(&self) -> bool {
        self.series.len() > 1
            && self.series.iter().all(|series| {
                series.name.chars().count() <= DIRECT && series.drawn != Drawn::Markers
            })
    }

    fn right(&self) -> f64 {
        let longest = self
            .series
            .iter()
            .map(|series| series.name.chars().count())
            .max();
        let label = match self.is_direct() {
            true => longest.unwrap_or_default() as f64 * BOLD + 12.0,
            false => RIGHT,
        };
        WIDTH - label.max(RIGHT)
    }

    fn write_svg(&self, html: &mut Html) {
        let (title, about) = (html.id("title"), html.id("about"));
        let view = format!("0 0 {WIDTH} {HEIGHT}");
        let labelled = format!("{title} {about}");
        let attributes = [
            ("viewBox", view.as_str()),
            ("role", "img"),
            ("aria-labelledby", labelled.as_str()),
        ];
        html.element("svg", &attributes, |html| {
            html.leaf("title", &[("id", &title)], &self.title);
            html.leaf("desc", &[("id", &about)], &self.about);
            self.write_axes(html);
            for series in &self.series {
                self.write_series(series, html);
            }
            if self.is_direct() {
                self.write_labels(html);
            }
        });
    }

    fn write_axes(&self, html: &mut Html) {
        let (right, bottom) = (self.right(), HEIGHT - BOTTOM);
        for (value, text) in self.y.scale.ticks(self.y.unit) {
            let Some(place) = self.y.scale.place(value) else {
                continue;
            };
            let y = bottom - place * (bottom - TOP);
            line(html, "grid", [LEFT, y, right, y]);
            label(html, "tick end", LEFT - 6.0, y + 4.0, &text);
        }
        // From the right, where ticks of percentiles matter most: texts that would touch the one before are left out.
        let mut free = WIDTH + 3.0 * LETTER;
        for (value, text) in self.x.scale.ticks(self.x.unit).into_iter().rev() {
            let Some(place) = self.x.scale.place(value) else {
                continue;
            };
            let x = LEFT + place * (right - LEFT);
            let half = text.chars().count() as f64 * LETTER / 2.0;
            line(html, "axis", [x, bottom, x, bottom + 4.0]);
            if x + half <= free - 1.5 * LETTER {
                label(html, "tick middle", x, bottom + 17.0, &text);
                free = x - half;
            }
        }
        line(html, "axis", [LEFT, bottom, right, bottom]);
        label(html, "name", 4.0, 13.0, &self.y.label);
        label(
            html,
            "name middle",
            f64::midpoint(LEFT, right),
            HEIGHT - 6.0,
            &self.x.label,
        );
    }

    /// The points of a series within the plot, in its units of drawing, with their values.
    fn places<'a>(&'a self, series: &'a Series) -> impl Iterator<Item = Place> + 'a {
        let (right, bottom) = (self.right(), HEIGHT - BOTTOM);
        series.points.iter().filter_map(move |&(x, y)| {
            let place = (
                LEFT + self.x.scale.place(x)? * (right - LEFT),
                bottom - self.y.scale.place(y)? * (bottom - TOP),
            );
            Some((place, (x, y)))
        })
    }

    fn write_series(&self, series: &Series, html: &mut Html) {
        let places: Vec<_> = self.places(series).collect();
        let class = format!("s{}", series.colour % COLOURS);
        if series.drawn != Drawn::Markers && places.len() > 1 {
            let mut path = String::new();
            for (index, (x, y)) in medians(&places).into_iter().enumerate() {
                path.push_str(&format!(
                    "{}{x:.1} {y:.1}",
                    if index == 0 { "M" } else { "L" }
                ));
            }
            let class = format!(
                "{class} line{}",
                if series.drawn == Drawn::Model {
                    " model"
                } else {
                    ""
                }
            );
            let dash = series.dash();
            html.void(
                "path",
                &[("class", &class), ("d", &path), ("stroke-dasharray", dash)],
            );
        }
        // Of a long line some points are enough to tell it from others.
        let every = match series.drawn {
            Drawn::Model => return,
            Drawn::Line if places.len() > MARKERS => places.len().div_ceil(FEW),
            _ => 1,
        };
        for ((x, y), values) in places.into_iter().skip(every / 2).step_by(every) {
            let text = format!(
                "{}: {}, {}",
                series.name,
                self.x_text(values.0),
                self.y.unit.exact(values.1)
            );
            marker(html, &class, series.shape, x, y, &text);
        }
    }

    /// Names at the ends of their lines, moved apart where lines end close together.
    fn write_labels(&self, html: &mut Html) {
        let mut ends: Vec<(f64, &Series)> = self
            .series
            .iter()
            .filter_map(|series| {
                let places: Vec<_> = self.places(series).collect();
                Some((medians(&places).last()?.1, series))
            })
            .collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        let lowest = HEIGHT - BOTTOM;
        let mut above = TOP - LINE;
        for end in &mut ends {
            end.0 = end.0.max(above + LINE);
            above = end.0;
        }
        let mut below = lowest + LINE;
        for end in ends.iter_mut().rev() {
            end.0 = end.0.min(below - LINE);
            below = end.0;
        }
        for (y, series) in ends {
            let class = format!("direct t{}", series.colour % COLOURS);
            label(html, &class, self.right() + 8.0, y + 4.0, &series.name);
        }
    }

    fn write_legend(&self, html: &mut Html) {
        html.element("ul", &[("class", "legend")], |html| {
            for series in &self.series {
                html.element("li", &[], |html| {
                    html.element(
                        "svg",
                        &[("viewBox", "0 0 30 12"), ("aria-hidden", "true")],
                        |html| {
                            let class = format!("s{}", series.colour % COLOURS);
                            if series.drawn != Drawn::Markers {
                                let line = format!(
                                    "{class} line{}",
                                    if series.drawn == Drawn::Model {
                                        " model"
                                    } else {
                                        ""
                                    }
                                );
                                let dash = series.dash();
                                html.void(
                                    "path",
                                    &[
                                        ("class", &line),
                                        ("d", "M1 6L29 6"),
                                        ("stroke-dasharray", dash),
                                    ],
                                );
                            }
                            if series.drawn != Drawn::Model {
                                marker(html, &class, series.shape, 15.0, 6.0, "");
                            }
                        },
                    );
                    html.text(&series.name);
                });
            }
        });
    }

    fn x_text(&self, value: f64) -> String {
        match self.x.scale {
            Scale::Percentile(_) => format!("{}\u{a0}%", (value * 1e8).round() / 1e6),
            _ => self.x.unit.exact(value),
        }
    }

    fn table(&self) -> Table {
        let mut columns = vec![(self.x.label.clone(), Align::Number)];
        columns.extend(
            self.series
                .iter()
                .map(|series| (series.name.clone(), Align::Number)),
        );
        let mut table = Table::with_columns(&self.title, columns);
        let mut xs: Vec<f64> = self
            .series
            .iter()
            .filter(|series| series.drawn != Drawn::Model)
            .flat_map(|series| series.points.iter().map(|point| point.0))
            .filter(|x| x.is_finite())
            .collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        for x in xs.iter().take(ROWS) {
            let mut row = vec![Cell::from(self.x_text(*x)).heading()];
            for series in &self.series {
                let values = series.points.iter().filter(|point| point.0 == *x);
                let texts: Vec<String> = values.map(|point| self.y.unit.exact(point.1)).collect();
                row.push(texts.join("; ").into());
            }
            table.row(row);
        }
        table
    }
}

fn has_columns(points: &[(f64, f64)]) -> bool {
    points.windows(2).any(|pair| pair[0].0 == pair[1].0)
}

/// A point for each place from left to right: where several stand above one another, their median.
fn medians(places: &[Place]) -> Vec<(f64, f64)> {
    places
        .chunk_by(|one, next| one.0.0 == next.0.0)
        .map(|column| {
            let mut ys: Vec<f64> = column.iter().map(|place| place.0.1).collect();
            ys.sort_by(f64::total_cmp);
            (
                column[0].0.0,
                f64::midpoint(ys[(ys.len() - 1) / 2], ys[ys.len() / 2]),
            )
        })
        .collect()
}

fn line(html: &mut Html, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    let ends = [x1, y1, x2, y2].map(|end| format!("{end:.1}"));
    html.void(
        "line",
        &[
            ("class", class),
            ("x1", &ends[0]),
            ("y1", &ends[1]),
            ("x2", &ends[2]),
            ("y2", &ends[3]),
        ],
    );
}

fn label(html: &mut Html, class: &str, x: f64, y: f64, text: &str) {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    html.leaf("text", &[("class", class), ("x", &x), ("y", &y)], text);
}

fn marker(html: &mut Html, class: &str, shape: usize, x: f64, y: f64, text: &str) {
    const R: f64 = 3.6;
    let polygon = |corners: &[(f64, f64)]| {
        let corners = corners
            .iter()
            .map(|(dx, dy)| format!("{:.1} {:.1}", x + dx * R, y + dy * R));
        format!("M{}Z", corners.collect::<Vec<_>>().join("L"))
    };
    let path = match shape % 6 {
        0 => format!(
            "M{:.1} {y:.1}a{R} {R} 0 1 0 {} 0a{R} {R} 0 1 0 -{} 0Z",
            x - R,
            2.0 * R,
            2.0 * R
        ),
        1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(&[(0.0, -1.2), (1.15, 0.85), (-1.15, 0.85)]),
        3 => polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => polygon(&[(0.0, 1.2), (1.15, -0.85), (-1.15, -0.85)]),
        _ => polygon(&[
            (-0.4, -1.2),
            (0.4, -1.2),
            (0.4, -0.4),
            (1.2, -0.4),
            (1.2, 0.4),
            (0.4, 0.4),
            (0.4, 1.2),
            (-0.4, 1.2),
            (-0.4, 0.4),
            (-1.2, 0.4),
            (-1.2, -0.4),
            (-0.4, -0.4),
        ]),
    };
    let class = format!("{class} marker");
    html.element("path", &[("class", &class), ("d", &path)], |html| {
        if !text.is_empty() {
            html.leaf("title", &[], text);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(names: [&str; 2], points: Vec<(f64, f64)>) -> String {
        let axis = |label: &str| Axis {
            label: label.into(),
            unit: Unit::Number,
            scale: Scale::Linear(0.0, 10.0),
        };
        let series = |(index, name): (usize, &str)| Series {
            name: name.into(),
            points: points.clone(),
            colour: index,
            shape: index,
            drawn: Drawn::Line,
        };
        let plot = Plot {
            title: "a < b".into(),
            about: "about".into(),
            x: axis("x"),
            y: axis("y"),
            series: names.into_iter().enumerate().map(series).collect(),
            note: None,
        };
        let mut html = Html::default();
        plot.write(&mut html);
        html.finish()
    }

    #[test]
    fn wild_values_are_left_out_and_names_do_not_overlap() {
        let text = plot(
            ["one", "two"],
            vec![
                (1.0, 2.0),
                (f64::NAN, 3.0),
                (4.0, f64::INFINITY),
                (5.0, 5.0),
                (50.0, 1.0),
            ],
        );
        let document = roxmltree::Document::parse(&text).unwrap();
        assert!(!text.contains("NaN") && !text.contains("\"inf"));
        let markers = document.descendants().filter(|node| {
            node.attribute("class")
                .is_some_and(|c| c.contains("marker"))
        });
        assert_eq!(markers.count(), 4);
        let names: Vec<f64> = document
            .descendants()
            .filter(|node| {
                node.attribute("class")
                    .is_some_and(|class| class.starts_with("direct"))
            })
            .map(|node| node.attribute("y").unwrap().parse().unwrap())
            .collect();
        assert!((names[1] - names[0]).abs() >= LINE - 0.1, "{names:?}");
    }

    #[test]
    fn long_names_get_a_legend_and_nothing_is_drawn_of_nothing() {
        let text = plot(["a very long name of a series", "two"], vec![(1.0, 2.0)]);
        assert!(text.contains("class=\"legend\"") && !text.contains("class=\"direct"));
        assert_eq!(plot(["one", "two"], vec![(f64::NAN, 1.0)]), "");
    }
}
