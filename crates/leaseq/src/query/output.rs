//! Prints leases as they come, without keeping them.

use std::io::{self, Write};

use leaseq_requestor::render::{Render, TABLE_HEADER};

use super::arguments::Format;

/// Rows that are looked at together to find the width of their columns.
const PAGE: usize = 512;

/// Rows in columns as wide as they need, which never get narrower from one page to the next.
pub struct Table {
    header: Vec<&'static str>,
    page: Vec<Vec<String>>,
    widths: Vec<usize>,
    has_header: bool,
}

impl Table {
    pub fn new(header: Vec<&'static str>) -> Self {
        Self {
            widths: header.iter().map(|title| title.len()).collect(),
            header,
            page: Vec::new(),
            has_header: false,
        }
    }

    /// Takes a row, and prints a page once it is full.
    pub fn row(&mut self, row: Vec<String>, out: &mut dyn Write) -> io::Result<()> {
        self.page.push(row);
        match self.page.len() {
            ..PAGE => Ok(()),
            _ => self.print(out),
        }
    }

    /// Prints what has been held back.
    pub fn print(&mut self, out: &mut dyn Write) -> io::Result<()> {
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
            print_row(out, &self.widths, &self.header)?;
        }
        for row in self.page.drain(..) {
            print_row(out, &self.widths, &row)?;
        }
        Ok(())
    }
}

/// Prints leases in one of the formats.
pub struct Output<'w> {
    out: &'w mut dyn Write,
    format: Format,
    table: Table,
    line: String,
}

impl<'w> Output<'w> {
    pub fn new(out: &'w mut dyn Write, format: Format) -> Self {
        Self {
            out,
            format,
            table: Table::new(TABLE_HEADER.to_vec()),
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
            Format::Table => lease
                .table_rows()
                .into_iter()
                .try_for_each(|row| self.table.row(row.into(), self.out)),
        }
    }

    /// Prints what a message is in hexadecimal.
    pub fn message(&mut self, octets: &[u8]) -> io::Result<()> {
        match self.format {
            Format::Hex => print_hex(octets, self.out),
            Format::Ndjson | Format::Table => Ok(()),
        }
    }

    /// Prints what has been held back.
    pub fn finish(mut self) -> io::Result<()> {
        self.table.print(self.out)?;
        self.out.flush()
    }
}

/// Prints octets as a line of hexadecimal.
pub fn print_hex(octets: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for octet in octets {
        write!(out, "{octet:02x}")?;
    }
    writeln!(out)
}

fn print_row(out: &mut dyn Write, widths: &[usize], row: &[impl AsRef<str>]) -> io::Result<()> {
    let columns = widths
        .iter()
        .zip(row)
        .map(|(width, text)| format!("{:width$}", text.as_ref()));
    let line = columns.collect::<Vec<_>>().join("  ");
    writeln!(out, "{}", line.trim_end())
}
