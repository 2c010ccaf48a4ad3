//! Tables: a heading a column, figures aligned, wide ones in a box that scrolls by itself.

use super::html::Html;

/// A table in the making.
#[derive(Debug)]
pub struct Table {
    caption: String,
    columns: Vec<(String, Align)>,
    /// Rows that belong together, and should stay on one page.
    bodies: Vec<Vec<Vec<Cell>>>,
}

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Text,
    /// Sentences.
    Wide,
    /// Figures, by their ends.
    Number,
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    class: &'static str,
    rows: usize,
    is_heading: bool,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            class: "",
            rows: 1,
            is_heading: false,
        }
    }
}

impl Cell {
    /// With a class of the page's style.
    #[must_use]
    pub fn class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }

    /// Over so many rows; the rows after it leave it out.
    #[must_use]
    pub fn rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    /// Names its row.
    #[must_use]
    pub fn heading(self) -> Self {
        Self {
            is_heading: true,
            ..self
        }
    }
}

impl Table {
    /// With these columns.
    #[must_use]
    pub fn new<const N: usize>(caption: &str, columns: [(&str, Align); N]) -> Self {
        Self::with_columns(
            caption,
            columns
                .into_iter()
                .map(|(title, align)| (title.into(), align))
                .collect(),
        )
    }

    /// With these columns.
    #[must_use]
    pub fn with_columns(caption: &str, columns: Vec<(String, Align)>) -> Self {
        Self {
            caption: caption.into(),
            columns,
            bodies: vec![Vec::new()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        if let Some(body) = self.bodies.last_mut() {
            body.push(cells);
        }
    }

    /// What follows belongs together.
    pub fn body(&mut self) {
        if self.bodies.last().is_some_and(|body| !body.is_empty()) {
            self.bodies.push(Vec::new());
        }
    }

    /// It has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bodies.iter().all(Vec::is_empty)
    }

    /// Writes it. A row may begin with fewer cells than there are columns: those of rows above reach into it, and all that
    /// it has are at its end.
    pub fn write(&self, html: &mut Html) {
        let attributes = [
            ("class", "scroll"),
            ("role", "region"),
            ("aria-label", self.caption.as_str()),
            ("tabindex", "0"),
        ];
        html.element("div", &attributes, |html| {
            html.element("table", &[], |html| self.write_table(html));
        });
    }

    fn write_table(&self, html: &mut Html) {
        html.leaf("caption", &[], &self.caption);
        html.element("thead", &[], |html| {
            html.element("tr", &[], |html| {
                for (title, align) in &self.columns {
                    html.leaf("th", &[("scope", "col"), ("class", class(*align))], title);
                }
            });
        });
        for body in self.bodies.iter().filter(|body| !body.is_empty()) {
            html.element("tbody", &[], |html| {
                for row in body {
                    html.element("tr", &[], |html| self.write_row(row, html));
                }
            });
        }
    }

    fn write_row(&self, row: &[Cell], html: &mut Html) {
        let skipped = self.columns.len().saturating_sub(row.len());
        for (cell, (_, align)) in row.iter().zip(self.columns.iter().skip(skipped)) {
            let class = format!("{} {}", class(*align), cell.class);
            let rows = cell.rows.to_string();
            let mut attributes = vec![("class", class.trim())];
            if cell.rows > 1 {
                attributes.push(("rowspan", rows.as_str()));
            }
            match cell.is_heading {
                true => {
                    attributes.push(("scope", if cell.rows > 1 { "rowgroup" } else { "row" }));
                    html.leaf("th", &attributes, &cell.text);
                }
                false => html.leaf("td", &attributes, &cell.text),
            }
        }
    }
}

fn class(align: Align) -> &'static str {
    match align {
        Align::Text => "text",
        Align::Wide => "text wide",
        Align::Number => "number",
    }
}
