//! XML as far as SOAP needs it: a writer that escapes, and a reader with bounds.
//!
//! The reader knows namespaces, ignores what it does not know, and takes no document type: without one
//! there are no entities but the five of XML itself, so that nothing can be expanded. It reads UTF-8
//! only. Depth and number of elements are bounded; the bytes of an answer are by the HTTP client.

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::errors::{Error, IllFormedError};
use quick_xml::escape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use std::hash::{Hash, Hasher as _};

/// Deeper answers are not read.
const MOST_DEPTH: usize = 32;
/// A page of 2,500 rows has some 40,000 elements; more than this is no page.
const MOST_ELEMENTS: usize = 200_000;

/// Namespaces of an envelope: SOAP 1.1, and 1.2.
pub const ENVELOPES: [&str; 2] = [
    "http://schemas.xmlsoap.org/soap/envelope/",
    "http://www.w3.org/2003/05/soap-envelope",
];
/// Namespace of the API's own elements.
pub const PARTNER: &str = "http://exacttarget.com/wsdl/partnerAPI";
/// Namespace of `nil` and `type`.
pub const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// One element.
#[derive(Debug, Default, Hash)]
pub struct Node {
    name: String,
    /// Its namespace; empty when it has none.
    namespace: String,
    nil: bool,
    text: String,
    children: Vec<Node>,
}

impl Node {
    /// Its name without prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it belongs to an envelope and has that name.
    pub fn is_envelope(&self, name: &str) -> bool {
        self.name == name && ENVELOPES.contains(&self.namespace.as_str())
    }

    /// Whether it belongs to the API and has that name.
    pub fn is_partner(&self, name: &str) -> bool {
        self.name == name && (self.namespace == PARTNER || self.namespace.is_empty())
    }

    /// The first envelope element of that name directly below.
    pub fn envelope(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is_envelope(name))
    }

    /// The elements of the API with that name directly below. Those of other namespaces are not.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children
            .iter()
            .filter(move |child| child.is_partner(name))
    }

    /// Takes the elements of the API with that name out.
    pub fn take_all(&mut self, name: &str) -> Vec<Self> {
        self.children
            .extract_if(.., |child| child.is_partner(name))
            .collect()
    }

    /// Takes the first envelope element of that name out.
    pub fn take_envelope(&mut self, name: &str) -> Option<Self> {
        let place = self
            .children
            .iter()
            .position(|child| child.is_envelope(name))?;
        Some(self.children.swap_remove(place))
    }

    /// The first element below, without the rest.
    pub fn take_first(self) -> Option<Self> {
        self.children.into_iter().next()
    }

    /// A digest of all it holds: equal for equal elements.
    pub fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The first of them.
    pub fn one(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is_partner(name))
    }

    /// The first element of that name directly below, whatever its namespace: faults have several.
    pub fn any(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element below.
    pub fn first(&self) -> Option<&Self> {
        self.children.first()
    }

    /// Its text without blanks around; `None` when it is nil or blank.
    pub fn text(&self) -> Option<&str> {
        let text = self.text.trim();
        (!self.nil && !text.is_empty()).then_some(text)
    }

    /// The text of an element of the API directly below.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.one(name)?.text()
    }
}

/// Why a text could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It ends before its last element does.
    Truncated,
    /// It is a web page.
    WebPage,
    /// It is not what XML may be here; says why, without repeating anything of it.
    Shape(&'static str),
}

/// Reads a whole document.
///
/// # Errors
/// Anything but one well-formed element within the bounds.
pub fn read(bytes: &[u8]) -> Result<Node, Unreadable> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| match error.error_len() {
        None => Unreadable::Truncated,
        Some(_) => Unreadable::Shape("it is not UTF-8"),
    })?;
    if text.trim_start().is_empty() {
        return Err(Unreadable::Truncated);
    }
    if !text.trim_start().starts_with('<') {
        return Err(Unreadable::Shape("it is no XML"));
    }
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Node> = Vec::new();
    let mut root = None;
    let mut elements = 0_usize;
    loop {
        let (namespace, event) = reader
            .read_resolved_event()
            .map_err(|error| fault(&error))?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if elements > MOST_ELEMENTS {
                    return Err(Unreadable::Shape("it has too many elements"));
                }
                if open.len() >= MOST_DEPTH {
                    return Err(Unreadable::Shape("it is nested too deeply"));
                }
                if root.is_some() {
                    return Err(Unreadable::Shape("it goes on behind its end"));
                }
                let namespace = space(&namespace)?;
                let node = element(&reader, &start, namespace)?;
                if open.is_empty() && node.name.eq_ignore_ascii_case("html") {
                    return Err(Unreadable::WebPage);
                }
                open.push(node);
            }
            Event::End(_) => {
                let done = open.pop().ok_or(Unreadable::Shape("it ends twice"))?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => root = Some(done),
                }
            }
            Event::Text(text) => {
                let text = text
                    .xml_content(XmlVersion::Implicit1_0)
                    .map_err(|_| Unreadable::Shape("a text cannot be decoded"))?;
                add(&mut open, &text)?;
            }
            Event::CData(text) => {
                let text = text
                    .xml_content(XmlVersion::Implicit1_0)
                    .map_err(|_| Unreadable::Shape("a text cannot be decoded"))?;
                add(&mut open, &text)?;
            }
            Event::GeneralRef(reference) => {
                let unknown = Unreadable::Shape("it holds a reference that XML does not define");
                if let Some(character) = reference.resolve_char_ref().map_err(|_| unknown)? {
                    add(&mut open, character.encode_utf8(&mut [0; 4]))?;
                } else {
                    let name = reference.decode().map_err(|_| unknown)?;
                    let text = escape::resolve_xml_entity(&name).ok_or(unknown)?;
                    add(&mut open, text)?;
                }
            }
            Event::DocType(kind) => {
                let html = kind
                    .trim_ascii_start()
                    .to_ascii_lowercase()
                    .starts_with(b"html");
                return Err(if html {
                    Unreadable::WebPage
                } else {
                    Unreadable::Shape("it declares a document type, which is never read")
                });
            }
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => {
                return match root {
                    Some(root) if open.is_empty() => Ok(root),
                    _ => Err(Unreadable::Truncated),
                };
            }
        }
    }
}

fn fault(error: &Error) -> Unreadable {
    match error {
        // All of these say that something was begun and not ended.
        Error::Syntax(_) | Error::IllFormed(IllFormedError::MissingEndTag(_)) => {
            Unreadable::Truncated
        }
        Error::Namespace(_) => Unreadable::Shape("a namespace is not declared as it should be"),
        Error::Io(_)
        | Error::IllFormed(_)
        | Error::InvalidAttr(_)
        | Error::Encoding(_)
        | Error::Escape(_) => Unreadable::Shape("it is not well-formed"),
    }
}

fn space(resolved: &ResolveResult<'_>) -> Result<String, Unreadable> {
    match resolved {
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Bound(name) => Ok(String::from_utf8_lossy(name.as_ref()).into_owned()),
        ResolveResult::Unknown(_) => Err(Unreadable::Shape("a prefix is not declared")),
    }
}

fn element(
    reader: &NsReader<&[u8]>,
    start: &BytesStart<'_>,
    namespace: String,
) -> Result<Node, Unreadable> {
    let bad = Unreadable::Shape("an attribute cannot be read");
    let mut nil = false;
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| bad)?;
        let (resolved, name) = reader.resolver().resolve_attribute(attribute.key);
        let instance =
            matches!(&resolved, ResolveResult::Bound(name) if name.as_ref() == INSTANCE.as_bytes());
        if instance && name.as_ref() == b"nil" {
            nil = matches!(attribute.value.trim_ascii(), b"true" | b"1");
        }
    }
    Ok(Node {
        name: String::from_utf8_lossy(start.local_name().as_ref()).into_owned(),
        namespace,
        nil,
        ..Node::default()
    })
}

fn add(open: &mut [Node], text: &str) -> Result<(), Unreadable> {
    match open.last_mut() {
        Some(node) => node.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(Unreadable::Shape("it holds text outside its element")),
    }
    Ok(())
}

/// Whether a text can stand in XML 1.0 at all.
pub fn can_hold(text: &str) -> bool {
    text.chars().all(|character| {
        matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{1_0000}'..)
    })
}

/// Writes `<name>text</name>`, the text escaped.
pub fn put(out: &mut String, name: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    out.push_str(&escape::escape(text));
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_by_namespace_and_not_by_prefix() {
        let root = read(
            br#"<?xml version="1.0" encoding="utf-8"?>
            <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
              <s:Body><p:R xmlns:p="http://exacttarget.com/wsdl/partnerAPI" xmlns:x="urn:other">
                <x:V>foreign</x:V><p:V>own</p:V><p:N i:nil="true">ignored</p:N><p:E/><p:N2 nil="true">kept</p:N2>
              </p:R></s:Body></s:Envelope>"#,
        )
        .unwrap();
        assert!(root.is_envelope("Envelope"));
        let body = root.envelope("Body").unwrap().first().unwrap();
        assert_eq!(
            body.value("V"),
            Some("own"),
            "a foreign element of the same name is none"
        );
        assert_eq!(body.value("N"), None, "nil is no value");
        assert_eq!(body.value("E"), None, "an empty element is no value");
        assert_eq!(
            body.value("N2"),
            Some("kept"),
            "only the instance namespace makes nil"
        );
        assert_eq!(body.any("V").and_then(Node::text), Some("foreign"));
    }

    #[test]
    fn text_in_pieces_is_one_text() {
        let root = read(b"<a>x &amp; y&#x20AC;<![CDATA[<&z>]]><!-- no --></a>").unwrap();
        assert_eq!(root.text(), Some("x & y\u{20ac}<&z>"));
    }

    #[test]
    fn c130_what_is_no_whole_document_is_told() {
        use Unreadable::{Shape, Truncated, WebPage};
        let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
        let rows: [(&str, &[u8], Unreadable); 17] = [
            ("nothing", b"", Truncated),
            ("blanks", b"  \n", Truncated),
            ("an element is open", b"<a><b></b>", Truncated),
            ("a tag is open", b"<a><b", Truncated),
            ("a value is open", b"<a b=\"c", Truncated),
            ("a comment is open", b"<a><!-- b", Truncated),
            ("half a character", b"<a>\xE2\x82", Truncated),
            ("JSON", b"{\"a\":1}", Shape("it is no XML")),
            (
                "another encoding",
                b"<a>\xFF\xFE</a>",
                Shape("it is not UTF-8"),
            ),
            (
                "crossed tags",
                b"<a><b></a></b>",
                Shape("it is not well-formed"),
            ),
            ("two roots", b"<a/><b/>", Shape("it goes on behind its end")),
            (
                "a word behind",
                b"<a/>b",
                Shape("it holds text outside its element"),
            ),
            (
                "an undeclared prefix",
                b"<p:a></p:a>",
                Shape("a prefix is not declared"),
            ),
            (
                "a bomb of entities",
                b"<!DOCTYPE a [<!ENTITY b \"bb\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>",
                Shape("it declares a document type, which is never read"),
            ),
            (
                "an entity without a declaration",
                b"<a>&b;</a>",
                Shape("it holds a reference that XML does not define"),
            ),
            (
                "a page",
                b"<!DOCTYPE html><html><body>Login</body></html>",
                WebPage,
            ),
            ("a page without a type", b"<HTML><body>", WebPage),
        ];
        for (sentence, bytes, expected) in rows {
            assert_eq!(read(bytes).unwrap_err(), expected, "{sentence}");
        }
        assert_eq!(
            read(deep.as_bytes()).unwrap_err(),
            Shape("it is nested too deeply")
        );
        let many = format!("<a>{}</a>", "<b/>".repeat(MOST_ELEMENTS));
        assert_eq!(
            read(many.as_bytes()).unwrap_err(),
            Shape("it has too many elements")
        );
    }

    proptest! {
        #[test]
        fn c129_what_is_written_is_read(text in "\\PC*") {
            let mut out = String::new();
            put(&mut out, "a", &text);
            let root = read(out.as_bytes()).unwrap();
            prop_assert_eq!(root.text.as_str(), text.as_str());
            prop_assert!(can_hold(&text));
        }

        #[test]
        fn c130_no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
        }
    }
}
