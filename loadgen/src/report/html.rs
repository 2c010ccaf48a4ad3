//! Writes HTML that is well-formed XML too, and escapes whatever it is given.

/// A page, or a part of one, in the making.
#[derive(Debug, Default)]
pub struct Html {
    text: String,
    ids: u32,
}

/// Attributes of an element: name and value.
pub type Attributes<'a> = &'a [(&'a str, &'a str)];

impl Html {
    /// An element with whatever is put into it.
    pub fn element(
        &mut self,
        tag: &str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.start(tag, attributes);
        self.text.push('>');
        inside(self);
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
        if !matches!(
            tag,
            "a" | "b" | "code" | "em" | "span" | "text" | "title" | "desc" | "tspan"
        ) {
            self.text.push('\n');
        }
    }

    /// An element with nothing but text in it.
    pub fn leaf(&mut self, tag: &str, attributes: Attributes<'_>, text: &str) {
        self.element(tag, attributes, |html| html.text(text));
    }

    /// An element that can have nothing in it.
    pub fn void(&mut self, tag: &str, attributes: Attributes<'_>) {
        self.start(tag, attributes);
        self.text.push_str("/>\n");
    }

    /// Text, escaped.
    pub fn text(&mut self, text: &str) {
        escape(text, &mut self.text);
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.leaf("p", &[], text);
    }

    /// What is well-formed already, such as the page's own style.
    pub fn raw(&mut self, well_formed: &str) {
        self.text.push_str(well_formed);
    }

    /// An identifier that no other element of the page has.
    pub fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{}", self.ids)
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn start(&mut self, tag: &str, attributes: Attributes<'_>) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(value, &mut self.text);
            self.text.push('"');
        }
    }
}

/// Escapes what HTML and XML give a meaning. Characters that XML forbids, and those that turn the direction of what stands
/// around them, become U+FFFD: a name out of a file must not be able to hide or disguise other text.
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}');
            }
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ if character.is_control() => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_cannot_leave_their_place() {
        let mut html = Html::default();
        html.leaf(
            "p",
            &[("title", "\"><script>")],
            "a < b & 'c' \u{0}\u{202e}\u{1b}[0m",
        );
        assert_eq!(
            html.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">a &lt; b &amp; &#39;c&#39; \u{fffd}\u{fffd}\u{fffd}[0m</p>\n"
        );
    }
}
