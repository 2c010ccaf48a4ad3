//! Prints leases as they come, without keeping them.

use std::io::{self, Write};

use leaseq_requestor::render::{Render, Row, TABLE_HEADER};

use super::arguments::Format;

/// Rows that are looked at together to find the width of their columns.
const PAGE: usize = 512;

/// Prints leases in one of the formats.
pub struct Output<'w> {
    out: &'w mut dyn Write,
    format: Format,
    page: Vec<Row>,
    widths: [usize; TABLE_HEADER.len()],
    has_header: bool,
    line: String,
}

impl<'w> Output<'w> {
    pub fn new(out: &'w mut dyn Write, format: Format) -> Self {
        let widths = TABLE_HEADER.map(str::len);
        Self {
            out,
            format,
            page: Vec::new(),
            widths,
            has_header: false,
            line: String::new(),
        }
    }

    /// Prints what a lease is in table and NDJSON.
    pub fn lease(&mut self, lease: &impl Render) -> io::Result<()> {
        match self.format {
            Format::Hex => Ok(()),
            Format::Ndjson => {
                self.line.clear();
                lease.ndjson(&mut self.line);
                self.out.write_all(self.line.as_bytes())
            }
            Format::Table => {
                self.page.extend(lease.table_rows());
                if self.page.len() >= PAGE {
                    self.print_page()
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Prints what a message is in hexadecimal.
    pub fn message(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.format != Format::Hex {
            return Ok(());
        }
        for octet in octets {
            write!(self.out, "{octet:02x}")?;
        }
        writeln!(self.out)
    }

    /// Prints what has been held back.
    pub fn finish(mut self) -> io::Result<()> {
        self.print_page()?;
        self.out.flush()
    }

    /// Columns never get narrower from one page to the next.
    fn print_page(&mut self) -> io::Result<()> {
        if self.page.is_empty() {
            return Ok(());
        }
        for row in &self.page {
            for (width, text) in self.widths.iter_mut().zip(row) {
                *width = text.chars().count().max(*width);
            }
        }
        if !self.has_header {
            self.has_header = true;
            print_row(self.out, &self.widths, &TABLE_HEADER)?;
        }
        for row in self.page.drain(..) {
            print_row(self.out, &self.widths, &row.each_ref().map(String::as_str))?;
        }
        Ok(())
    }
}

fn print_row(out: &mut dyn Write, widths: &[usize; 8], row: &[&str; 8]) -> io::Result<()> {
    let columns = widths
        .iter()
        .zip(row)
        .map(|(width, text)| format!("{text:width$}"));
    let line = columns.collect::<Vec<_>>().join("  ");
    writeln!(out, "{}", line.trim_end())
}
