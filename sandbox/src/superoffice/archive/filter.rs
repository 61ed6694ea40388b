//! The grammar of `$filter`, which is OData's in name and the product's own in its operators.
//!
//! ```text
//! any    = all { "or" all }
//! all    = one { "and" one }
//! one    = "(" any ")" | function "(" … ")" | column operator [ value | "(" value { "," value } ")" ]
//! ```
//!
//! Column names hold `/`, `.`, `:` and, in the dynamic archive, `(table->column)`. Texts stand in single quotes, with a
//! backslash before a quote. What operators a column takes is not decided here.

/// Deepest nesting of parentheses.
pub(crate) const MAX_DEPTH: usize = 50;
/// Most values in one list.
pub(crate) const MAX_VALUES: usize = 5_000;
/// Most restrictions in one filter.
pub(crate) const MAX_TERMS: usize = 500;

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    /// A number, `true`, `false` or another bare word.
    Word(String),
}

impl Value {
    /// The characters of the literal.
    pub(crate) fn text(&self) -> &str {
        match self {
            Value::Text(text) | Value::Word(text) => text,
        }
    }

    pub(crate) fn number(&self) -> Option<i64> {
        self.text().trim().parse().ok()
    }

    pub(crate) fn truth(&self) -> Option<bool> {
        match self.text().to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }
}

/// One restriction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Term {
    pub(crate) column: String,
    /// Lower-cased.
    pub(crate) operator: String,
    pub(crate) values: Vec<Value>,
}

/// A filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Term(Term),
}

impl Expr {
    /// The restrictions that every row must meet.
    pub(crate) fn required(&self) -> Vec<&Term> {
        match self {
            Expr::And(parts) => parts.iter().flat_map(Expr::required).collect(),
            Expr::Term(term) => vec![term],
            Expr::Or(_) => Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    /// `=`, `!=`, `<`, `>`, `<=`, `>=`, `<>`.
    Sign(String),
    Open,
    Close,
    Comma,
}

/// Reads a filter; the error says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Expr, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        terms: 0,
    };
    let expr = parser.any()?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(format!("unexpected {token:?}")),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            _ if letter.is_whitespace() => {}
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            ',' => tokens.push(Token::Comma),
            '\'' => {
                let mut inside = String::new();
                loop {
                    match letters.next() {
                        None => return Err("a text without an end".to_owned()),
                        Some('\\') => inside.extend(letters.next()),
                        Some('\'') => break,
                        Some(other) => inside.push(other),
                    }
                }
                tokens.push(Token::Text(inside));
            }
            '=' | '<' | '>' | '!' => {
                let mut sign = String::from(letter);
                while let Some(next) = letters.next_if(|next| matches!(next, '=' | '>')) {
                    sign.push(next);
                }
                tokens.push(Token::Sign(sign));
            }
            _ => {
                let mut word = String::from(letter);
                let mut inside = false;
                while let Some(&next) = letters.peek() {
                    // A parenthesis belongs to the name only behind a join sign: `person.(email->person_id).rank`.
                    let joins = next == '(' && matches!(word.chars().last(), Some('.' | ':'));
                    let part = next.is_alphanumeric() || "_./:#-".contains(next);
                    if !(part || joins || (inside && matches!(next, ')' | '>'))) {
                        break;
                    }
                    inside = match next {
                        '(' => true,
                        ')' => false,
                        _ => inside,
                    };
                    word.push(next);
                    letters.next();
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    terms: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes_word(&mut self, wanted: &str) -> bool {
        let there =
            matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        if there {
            self.at += 1;
        }
        there
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), String> {
        match self.next() {
            Some(token) if token == *wanted => Ok(()),
            other => Err(format!("{wanted:?} expected, found {other:?}")),
        }
    }

    fn any(&mut self) -> Result<Expr, String> {
        let mut parts = vec![self.all()?];
        while self.takes_word("or") {
            parts.push(self.all()?);
        }
        Ok(single(parts, Expr::Or))
    }

    fn all(&mut self) -> Result<Expr, String> {
        let mut parts = vec![self.one()?];
        while self.takes_word("and") {
            parts.push(self.one()?);
        }
        Ok(single(parts, Expr::And))
    }

    fn one(&mut self) -> Result<Expr, String> {
        match self.next() {
            Some(Token::Open) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err("too many parentheses".to_owned());
                }
                let inner = self.any()?;
                self.expect(&Token::Close)?;
                self.depth -= 1;
                Ok(inner)
            }
            Some(Token::Word(word)) => {
                self.terms += 1;
                if self.terms > MAX_TERMS {
                    return Err("too many restrictions".to_owned());
                }
                if self.peek() == Some(&Token::Open) {
                    return self.function(&word);
                }
                self.term(word).map(Expr::Term)
            }
            other => Err(format!("a column expected, found {other:?}")),
        }
    }

    /// `startswith(column,'text')`, `endswith(column,'text')`, `substringof('text',column)`.
    fn function(&mut self, name: &str) -> Result<Expr, String> {
        let operator = match name.to_ascii_lowercase().as_str() {
            "startswith" => "begins",
            "endswith" => "ends",
            "substringof" => "contains",
            _ => return Err(format!("unknown function {name}")),
        };
        self.expect(&Token::Open)?;
        let first = self.next();
        self.expect(&Token::Comma)?;
        let second = self.next();
        self.expect(&Token::Close)?;
        let ((Some(Token::Word(column)), Some(Token::Text(value)))
        | (Some(Token::Text(value)), Some(Token::Word(column)))) = (first, second)
        else {
            return Err(format!("{name} takes a column and a text"));
        };
        let sign = matches!(self.peek(), Some(Token::Sign(sign)) if sign == "=");
        if sign || self.takes_word("eq") {
            self.at += usize::from(sign);
            if !self.takes_word("true") {
                return Err(format!("{name} can only be true"));
            }
        }
        Ok(Expr::Term(Term {
            column,
            operator: operator.to_owned(),
            values: vec![Value::Text(value)],
        }))
    }

    fn term(&mut self, column: String) -> Result<Term, String> {
        let operator = match self.next() {
            Some(Token::Word(word)) => word.to_ascii_lowercase(),
            Some(Token::Sign(sign)) => sign,
            other => {
                return Err(format!(
                    "an operator expected after {column}, found {other:?}"
                ));
            }
        };
        let mut values = Vec::new();
        match self.peek() {
            Some(Token::Open) => {
                self.at += 1;
                loop {
                    values.push(self.value()?);
                    if values.len() > MAX_VALUES {
                        return Err("too many values".to_owned());
                    }
                    match self.next() {
                        Some(Token::Comma) => {}
                        Some(Token::Close) => break,
                        other => return Err(format!("a value expected, found {other:?}")),
                    }
                }
            }
            Some(Token::Text(_)) => values.push(self.value()?),
            Some(Token::Word(word)) => {
                let joins = ["and", "or"]
                    .iter()
                    .any(|join| word.eq_ignore_ascii_case(join));
                if !joins {
                    values.push(self.value()?);
                }
            }
            _ => {}
        }
        Ok(Term {
            column,
            operator,
            values,
        })
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.next() {
            Some(Token::Text(text)) => Ok(Value::Text(text)),
            Some(Token::Word(word)) => Ok(Value::Word(word)),
            other => Err(format!("a value expected, found {other:?}")),
        }
    }
}

fn single(mut parts: Vec<Expr>, join: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(column: &str, operator: &str, values: &[Value]) -> Expr {
        Expr::Term(Term {
            column: column.to_owned(),
            operator: operator.to_owned(),
            values: values.to_vec(),
        })
    }

    fn word(text: &str) -> Value {
        Value::Word(text.to_owned())
    }

    fn quoted(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn filters_are_read_as_documented() {
        let cases = [
            ("personId gt 5", term("personId", "gt", &[word("5")])),
            ("personId = 5", term("personId", "=", &[word("5")])),
            ("personId=5", term("personId", "=", &[word("5")])),
            (
                "a in (1,-2 , 3)",
                term("a", "in", &[word("1"), word("-2"), word("3")]),
            ),
            (
                "a between ('a','b')",
                term("a", "between", &[quoted("a"), quoted("b")]),
            ),
            (
                "name is 'L\\'Oréal'",
                term("name", "is", &[quoted("L'Oréal")]),
            ),
            ("date today", term("date", "today", &[])),
            (
                "hasEmarketingConsent set true",
                term("hasEmarketingConsent", "set", &[word("true")]),
            ),
            (
                "email/emailAddress eq 'a@b.c'",
                term("email/emailAddress", "eq", &[quoted("a@b.c")]),
            ),
            (
                "person.(email->person_id).email_address eq 'x'",
                term(
                    "person.(email->person_id).email_address",
                    "eq",
                    &[quoted("x")],
                ),
            ),
            (
                "startswith(lastName,'L') eq true",
                term("lastName", "begins", &[quoted("L")]),
            ),
            (
                "substringof('L', lastName)",
                term("lastName", "contains", &[quoted("L")]),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        let one = |name: &str| term(name, "eq", &[word("1")]);
        let expected = Expr::Or(vec![one("a"), Expr::And(vec![one("b"), one("c")])]);
        assert_eq!(parse("a eq 1 or b eq 1 and c eq 1"), Ok(expected));
        let expected = Expr::And(vec![Expr::Or(vec![one("a"), one("b")]), one("c")]);
        assert_eq!(parse("(a eq 1 or b eq 1) and c eq 1"), Ok(expected));
    }

    #[test]
    fn malformed_filters_are_refused() {
        let long = "(".repeat(MAX_DEPTH + 1);
        for text in [
            "",
            "a",
            "a eq 'b",
            "a eq 1 and",
            "(a eq 1",
            "a eq 1)",
            "f(a,'b')",
            "a in (1",
            &long,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
