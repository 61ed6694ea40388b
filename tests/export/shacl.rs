//! A small SHACL validator: exactly the constraint components that the shapes use. Whatever else a shape
//! says ends the test, so that no constraint is passed over.

use oxjsonld::JsonLdParser;
use oxrdf::vocab::{rdf, xsd};
use oxrdf::{Graph, NamedNode, NamedNodeRef, NamedOrBlankNodeRef, Term, TermRef, Triple};
use oxttl::TurtleParser;

const SH: &str = "http://www.w3.org/ns/shacl#";

fn sh(name: &str) -> NamedNode {
    NamedNode::new(format!("{SH}{name}")).unwrap()
}

/// A Turtle document.
pub(crate) fn turtle(text: &str) -> Graph {
    TurtleParser::new()
        .for_slice(text)
        .map(Result::unwrap)
        .collect()
}

/// A JSON-LD document whose context stands in it. One that would have to be fetched is an error.
pub(crate) fn json_ld(text: &str) -> Graph {
    let quads = JsonLdParser::new().for_slice(text.as_bytes());
    quads
        .map(|quad| {
            let quad = quad.unwrap();
            Triple::new(quad.subject, quad.predicate, quad.object)
        })
        .collect()
}

/// The shapes, and the data they are held against.
pub(crate) struct Validator<'a> {
    pub(crate) shapes: &'a Graph,
    pub(crate) data: &'a Graph,
}

impl Validator<'_> {
    /// Everything that does not conform, and how many nodes were looked at.
    pub(crate) fn validate(&self) -> (usize, Vec<String>) {
        let target = sh("targetClass");
        let mut faults = Vec::new();
        let mut count = 0;
        for triple in self.shapes.triples_for_predicate(&target) {
            let class = triple.object;
            for focus in self.data.subjects_for_predicate_object(rdf::TYPE, class) {
                count += 1;
                self.node(triple.subject, &focus.into_owned().into(), &mut faults);
            }
        }
        (count, faults)
    }

    fn of(&self, shape: NamedOrBlankNodeRef<'_>, name: &str) -> Vec<Term> {
        let name = sh(name);
        let found = self.shapes.objects_for_subject_predicate(shape, &name);
        found.map(TermRef::into_owned).collect()
    }

    fn number(&self, shape: NamedOrBlankNodeRef<'_>, name: &str) -> Option<usize> {
        let found = self.of(shape, name).pop()?;
        let Term::Literal(number) = found else {
            panic!("{name} is no number")
        };
        Some(number.value().parse().unwrap())
    }

    /// Holds one node against a shape.
    fn node(&self, shape: NamedOrBlankNodeRef<'_>, focus: &Term, faults: &mut Vec<String>) {
        for triple in self.shapes.triples_for_subject(shape) {
            let object = triple.object;
            let name = match triple.predicate.as_str().strip_prefix(SH) {
                Some(name) => name,
                None if triple.predicate == rdf::TYPE => continue,
                None => panic!("{} is not known here", triple.predicate),
            };
            let mut fault = |what: String| faults.push(format!("{focus}: {what}"));
            match name {
                "targetClass" | "name" => {}
                "property" => self.property(node_of(object), focus, faults),
                "node" => self.node(node_of(object), focus, faults),
                "class" => {
                    if !self.is_a(focus, object) {
                        fault(format!("is no {object}"));
                    }
                }
                "datatype" => {
                    if !has_datatype(focus, object) {
                        fault(format!("is not of type {object}"));
                    }
                }
                "nodeKind" => {
                    let kind = object.to_string();
                    let right = match kind.trim_matches(['<', '>']).strip_prefix(SH) {
                        Some("IRI") => focus.is_named_node(),
                        Some("Literal") => focus.is_literal(),
                        _ => panic!("the node kind {kind} is not known here"),
                    };
                    if !right {
                        fault(format!("is no {kind}"));
                    }
                }
                "minLength" => {
                    let least: usize = literal(object).parse().unwrap();
                    let text = match focus {
                        Term::Literal(literal) => literal.value().to_owned(),
                        other => other.to_string(),
                    };
                    if text.chars().count() < least {
                        fault(format!("is shorter than {least}"));
                    }
                }
                "or" => {
                    let fits = |member: &Term| {
                        let mut faults = Vec::new();
                        self.node(node_of(member.as_ref()), focus, &mut faults);
                        faults.is_empty()
                    };
                    if !self.list(object).iter().any(fits) {
                        fault("fits none of the alternatives".to_owned());
                    }
                }
                other => panic!("sh:{other} is not known here"),
            }
        }
    }

    /// Holds the values of a path against a property shape.
    fn property(&self, shape: NamedOrBlankNodeRef<'_>, focus: &Term, faults: &mut Vec<String>) {
        let Some(Term::NamedNode(path)) = self.of(shape, "path").pop() else {
            panic!("a path other than a property is not known here")
        };
        let values: Vec<Term> = match subject_of(focus) {
            Some(subject) => {
                let found = self.data.objects_for_subject_predicate(subject, &path);
                found.map(TermRef::into_owned).collect()
            }
            None => Vec::new(),
        };
        let mut fault = |what: String| faults.push(format!("{focus} {path}: {what}"));
        if let Some(least) = self.number(shape, "minCount")
            && values.len() < least
        {
            fault(format!(
                "{} values, at least {least} are demanded",
                values.len()
            ));
        }
        if let Some(most) = self.number(shape, "maxCount")
            && values.len() > most
        {
            fault(format!(
                "{} values, at most {most} are allowed",
                values.len()
            ));
        }
        for wanted in self.of(shape, "hasValue") {
            if !values.contains(&wanted) {
                fault(format!("{wanted} is not among the values"));
            }
        }
        // The rest of the shape holds for each value.
        let mut rest = Graph::new();
        let own = ["path", "minCount", "maxCount", "hasValue"].map(sh);
        for triple in self.shapes.triples_for_subject(shape) {
            if !own.iter().any(|name| name.as_ref() == triple.predicate) {
                rest.insert(triple);
            }
        }
        for triple in self.shapes {
            if triple.subject != shape {
                rest.insert(triple);
            }
        }
        let values_only = Validator {
            shapes: &rest,
            data: self.data,
        };
        for value in values {
            values_only.node(shape, &value, faults);
        }
    }

    fn is_a(&self, node: &Term, class: TermRef<'_>) -> bool {
        let subject = subject_of(node);
        subject.is_some_and(|subject| {
            let mut classes = self.data.objects_for_subject_predicate(subject, rdf::TYPE);
            classes.any(|known| known == class)
        })
    }

    fn list(&self, head: TermRef<'_>) -> Vec<Term> {
        let mut members = Vec::new();
        let mut head = head.into_owned();
        while head.as_ref() != TermRef::from(rdf::NIL) {
            let node = node_of(head.as_ref());
            let one = |name: NamedNodeRef<'_>| {
                let found = self.shapes.object_for_subject_predicate(node, name);
                found.unwrap().into_owned()
            };
            members.push(one(rdf::FIRST));
            head = one(rdf::REST);
        }
        members
    }
}

fn node_of(term: TermRef<'_>) -> NamedOrBlankNodeRef<'_> {
    match term {
        TermRef::NamedNode(node) => node.into(),
        TermRef::BlankNode(node) => node.into(),
        TermRef::Literal(_) => panic!("{term} is no shape"),
    }
}

fn subject_of(term: &Term) -> Option<NamedOrBlankNodeRef<'_>> {
    match term {
        Term::NamedNode(node) => Some(node.as_ref().into()),
        Term::BlankNode(node) => Some(node.as_ref().into()),
        Term::Literal(_) => None,
    }
}

fn literal(term: TermRef<'_>) -> &str {
    match term {
        TermRef::Literal(literal) => literal.value(),
        other => panic!("{other} is no literal"),
    }
}

/// Of the type, and well formed in it.
fn has_datatype(term: &Term, datatype: TermRef<'_>) -> bool {
    let Term::Literal(literal) = term else {
        return false;
    };
    if TermRef::from(literal.datatype()) != datatype {
        return false;
    }
    if literal.datatype() == xsd::DATE_TIME {
        chrono::DateTime::parse_from_rfc3339(literal.value()).is_ok()
    } else if literal.datatype() == xsd::STRING {
        true
    } else {
        panic!("{datatype} is not known here")
    }
}
