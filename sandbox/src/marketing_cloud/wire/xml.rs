//! A small tree of an XML document, with namespaces instead of prefixes.
//!
//! Comments and processing instructions are dropped; document types are refused, since SOAP forbids them.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{NamespaceResolver, ResolveResult};

/// Namespace of `xsi:type` and `xsi:nil`.
pub(super) const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Most elements.
const MAX_ELEMENTS: usize = 200_000;

/// One element.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Namespace; empty when it has none.
    pub(super) namespace: String,
    pub(super) name: String,
    /// Local part of `xsi:type`.
    pub(super) kind: Option<String>,
    /// `xsi:nil`.
    pub(super) nil: bool,
    /// Text directly inside.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// Children of this name in the element's own namespace; those of another one mean nothing.
    pub(super) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Element> + 'e {
        self.children
            .iter()
            .filter(move |child| child.is(&self.namespace, name))
    }

    pub(super) fn first<'e>(&'e self, name: &'e str) -> Option<&'e Element> {
        self.all(name).next()
    }

    /// Text of the first child of this name that has any.
    pub(super) fn value<'e>(&'e self, name: &'e str) -> Option<&'e str> {
        let child = self.first(name)?;
        let text = child.text.trim();
        (!child.nil && !text.is_empty()).then_some(text)
    }

    /// Whether a child says so.
    pub(super) fn says(&self, name: &str) -> bool {
        matches!(self.value(name), Some("true" | "1"))
    }
}

/// The document's root; `None` when it is none.
pub(super) fn parse(bytes: &[u8]) -> Option<Element> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut elements = 0_usize;
    loop {
        let event = reader.read_event().ok()?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if elements > MAX_ELEMENTS || open.len() >= MAX_DEPTH || root.is_some() {
                    return None;
                }
                open.push(element(reader.resolver(), &start)?);
            }
            Event::Empty(start) => {
                elements += 1;
                if elements > MAX_ELEMENTS || root.is_some() {
                    return None;
                }
                let element = element(reader.resolver(), &start)?;
                close(element, &mut open, &mut root);
            }
            Event::End(_) => {
                let element = open.pop()?;
                close(element, &mut open, &mut root);
            }
            Event::Text(text) => add(&mut open, &text.decode().ok()?),
            Event::CData(text) => add(&mut open, &text.decode().ok()?),
            Event::GeneralRef(name) => {
                let character = match name.resolve_char_ref().ok()? {
                    Some(character) => character.to_string(),
                    None => quick_xml::escape::resolve_predefined_entity(&name.decode().ok()?)?
                        .to_owned(),
                };
                add(&mut open, &character);
            }
            Event::DocType(_) => return None,
            Event::Eof => return if open.is_empty() { root } else { None },
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn add(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn element(resolver: &NamespaceResolver, start: &BytesStart<'_>) -> Option<Element> {
    let (namespace, name) = resolver.resolve_element(start.name());
    let mut element = Element {
        namespace: namespace_of(&namespace)?,
        name: std::str::from_utf8(name.as_ref()).ok()?.to_owned(),
        ..Element::default()
    };
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let (namespace, name) = resolver.resolve_attribute(attribute.key);
        if namespace_of(&namespace)? != XSI {
            continue;
        }
        let value = std::str::from_utf8(&attribute.value).ok()?.trim();
        match name.as_ref() {
            b"type" => {
                let local = value.rsplit_once(':').map_or(value, |(_, local)| local);
                element.kind = Some(local.to_owned());
            }
            b"nil" => element.nil = matches!(value, "true" | "1"),
            _ => {}
        }
    }
    Some(element)
}

/// `None` when the prefix stands for nothing.
fn namespace_of(found: &ResolveResult<'_>) -> Option<String> {
    match found {
        ResolveResult::Bound(namespace) => {
            Some(std::str::from_utf8(namespace.as_ref()).ok()?.to_owned())
        }
        ResolveResult::Unbound => Some(String::new()),
        ResolveResult::Unknown(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_mean_nothing_and_namespaces_all() {
        let spellings = [
            r#"<a xmlns="urn:x"><b>1 &amp; 2</b></a>"#,
            r#"<p:a xmlns:p="urn:x"><p:b><![CDATA[1 & 2]]></p:b></p:a>"#,
            r#"<p:a xmlns:p="urn:x"><q:b xmlns:q="urn:x">1 &#38; 2</q:b></p:a>"#,
        ];
        for spelling in spellings {
            let root = parse(spelling.as_bytes()).unwrap();
            assert!(root.is("urn:x", "a"), "{spelling}");
            assert_eq!(root.value("b"), Some("1 & 2"), "{spelling}");
        }
        let other = parse(br#"<a xmlns="urn:x"><b xmlns="urn:y">1</b></a>"#).unwrap();
        assert_eq!(other.value("b"), None);
        let typed = format!(r#"<a xmlns:i="{XSI}" i:type="n:Big"><b i:nil="true">1</b></a>"#);
        let typed = parse(typed.as_bytes()).unwrap();
        assert_eq!(typed.kind.as_deref(), Some("Big"));
        assert_eq!(typed.value("b"), None);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "<a>".repeat(MAX_DEPTH + 1) + &"</a>".repeat(MAX_DEPTH + 1);
        let cases = [
            "",
            "x",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<p:a/>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<a>&x;</a>",
            &deep,
        ];
        for case in cases {
            assert!(parse(case.as_bytes()).is_none(), "{case}");
        }
    }
}
