//! What documents are made of, whichever language they are written in.

use roxmltree::Node;

/// Deeper elements are read as the text in them: no verb looks so deep.
const MAX_DEPTH: usize = 40;

/// A verb, a noun, or markup.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    /// Names and values. `xml:lang` and its like have their prefix; others have none.
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Child>,
    pub(super) place: Place,
}

/// What stands in an element.
#[derive(Debug)]
pub(super) enum Child {
    Element(Element),
    Text(String, Place),
}

/// Where something stands, for its author.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Of a text, from 1.
    Line(u32),
    /// As in `verbs[0].gather`.
    Path(String),
}

impl Element {
    /// One of XML, whose comments and instructions are left out.
    pub(super) fn of_xml(element: Node) -> Self {
        let mut lines = Lines {
            text: element.document().input_text(),
            at: 0,
            line: 1,
        };
        lines.element(element, 0)
    }

    /// Those of its children that are elements.
    pub(super) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|child| match child {
            Child::Element(element) => Some(element),
            Child::Text(..) => None,
        })
    }

    /// The text that stands directly in it, without white space around it.
    pub(super) fn own_text(&self) -> String {
        let texts = self.children.iter().filter_map(|child| match child {
            Child::Element(_) => None,
            Child::Text(text, _) => Some(text.as_str()),
        });
        texts.collect::<String>().trim().to_owned()
    }

    /// All text in it, however deep.
    pub(super) fn all_text(&self) -> String {
        let mut all = String::new();
        self.add_text(&mut all);
        all
    }

    fn add_text(&self, all: &mut String) {
        for child in &self.children {
            match child {
                Child::Element(element) => element.add_text(all),
                Child::Text(text, _) => all.push_str(text),
            }
        }
    }
}

/// Counts lines on the way through a text.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl Lines<'_> {
    /// Nodes are asked for in the order in which they stand.
    fn place(&mut self, node: Node) -> Place {
        let start = node.range().start;
        let passed = self.text.as_bytes().get(self.at..start);
        let lines = passed.unwrap_or_default().iter();
        let lines = lines.filter(|byte| **byte == b'\n').count();
        self.line = self
            .line
            .saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.at = self.at.max(start);
        Place::Line(self.line)
    }

    fn element(&mut self, element: Node, depth: usize) -> Element {
        let place = self.place(element);
        let attributes = element.attributes().map(|attribute| {
            let is_xml = attribute.namespace() == Some(roxmltree::NS_XML_URI);
            let prefix = if is_xml { "xml:" } else { "" };
            let name = format!("{prefix}{}", attribute.name());
            (name, attribute.value().to_owned())
        });
        let attributes = attributes.collect();
        let mut children = Vec::new();
        if depth == MAX_DEPTH {
            let texts = element.descendants().filter(Node::is_text);
            let text = texts.filter_map(|node| node.text()).collect();
            children.push(Child::Text(text, place.clone()));
        } else {
            for child in element.children() {
                if child.is_element() {
                    children.push(Child::Element(self.element(child, depth + 1)));
                } else if let Some(text) = child.text().filter(|_| child.is_text()) {
                    let place = self.place(child);
                    children.push(Child::Text(text.to_owned(), place));
                }
            }
        }
        Element {
            name: element.tag_name().name().to_owned(),
            attributes,
            children,
            place,
        }
    }
}
