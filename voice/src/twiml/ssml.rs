//! The text of `<Say>`, with and without its markup.

use super::{
    Warnings,
    element::{Child, Element},
};

/// The elements of SSML that `<Say>` may have.
const ELEMENTS: [&str; 10] = [
    "break", "emphasis", "lang", "p", "phoneme", "prosody", "s", "say-as", "sub", "w",
];

/// Deeper markup is read as the text in it.
const MAX_DEPTH: usize = 16;

/// The text within an element, and the same with its markup where it has any.
pub(super) fn read(element: &Element, warnings: &mut Warnings) -> (String, Option<String>) {
    let mut reader = Reader {
        text: String::new(),
        markup: String::new(),
        has_markup: false,
        warnings,
    };
    reader.children(element, 0);
    let text = reader.text.trim().to_owned();
    let markup = reader.markup.trim().to_owned();
    (text, reader.has_markup.then_some(markup))
}

struct Reader<'w> {
    text: String,
    markup: String,
    has_markup: bool,
    warnings: &'w mut Warnings,
}

impl Reader<'_> {
    fn children(&mut self, element: &Element, depth: usize) {
        if depth > MAX_DEPTH {
            return self.text(&element.all_text());
        }
        for child in &element.children {
            match child {
                Child::Element(element) => self.element(element, depth),
                Child::Text(text, _) => self.text(text),
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.text.push_str(text);
        escape(&mut self.markup, text);
    }

    fn element(&mut self, element: &Element, depth: usize) {
        let name = element.name.as_str();
        if !ELEMENTS.contains(&name) {
            self.warnings.push(&element.place, || {
                format!("<{name}> is no SSML that <Say> knows; its text is said")
            });
            self.children(element, depth + 1);
            return;
        }
        self.has_markup = true;
        self.markup.push('<');
        self.markup.push_str(name);
        for (name, value) in &element.attributes {
            self.markup.push(' ');
            self.markup.push_str(name);
            self.markup.push_str("=\"");
            escape(&mut self.markup, value);
            self.markup.push('"');
        }
        self.markup.push('>');
        self.children(element, depth + 1);
        self.markup.push_str("</");
        self.markup.push_str(name);
        self.markup.push('>');
        // Words on both sides of a break are two words.
        if name == "break" {
            self.text.push(' ');
        }
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}
