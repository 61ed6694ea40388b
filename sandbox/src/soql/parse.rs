//! Recursive descent over the tokens of one statement.
//!
//! The grammar is that of "SOQL SELECT Syntax" without the clauses the module leaves out. Two refusals that surprise
//! people are the vendor's own: `AND` and `OR` side by side without parentheses, and `NOT` anywhere but at the start of
//! a condition or a parenthesis.

use super::ast::{Condition, Glob, Literal, Order, Path, Query, Select};
use super::lexer::{Kind, Token, tokens};
use super::{MAX_NESTING, MAX_OFFSET, MAX_STATEMENT_CHARS, MAX_STRING_CHARS, SoqlError, code};

/// Words that end the name of the object, so that they are not taken for its alias.
const CLAUSES: [&str; 10] = [
    "WHERE", "ORDER", "LIMIT", "OFFSET", "GROUP", "HAVING", "WITH", "FOR", "USING", "UPDATE",
];

/// Words that can never be a name; the vendor reserves a few more, for aliases only.
const RESERVED: [&str; 9] = [
    "AND", "FROM", "IN", "LIKE", "NOT", "NULL", "OR", "SELECT", "WHERE",
];

/// Reads a statement.
///
/// # Errors
///
/// `MALFORMED_QUERY` for anything that is not SOQL or too long, `NUMBER_OUTSIDE_VALID_RANGE` for an `OFFSET` beyond
/// [`MAX_OFFSET`], `EXCEEDED_MAX_SEMIJOIN_SUBSELECTS` for a semi-join (none is supported), `QUERY_TOO_COMPLICATED` for
/// nesting beyond [`MAX_NESTING`].
pub fn parse(text: &str) -> Result<Query, SoqlError> {
    if text.chars().count() > MAX_STATEMENT_CHARS {
        let what =
            format!("SOQL statements cannot be longer than {MAX_STATEMENT_CHARS} characters.");
        return Err(SoqlError::plain(code::MALFORMED_QUERY, what));
    }
    let mut parser = Parser {
        text,
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    parser.statement()
}

struct Parser<'t> {
    text: &'t str,
    /// Ends with [`Kind::End`], which is never stepped over.
    tokens: Vec<Token<'t>>,
    next: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn statement(&mut self) -> Result<Query, SoqlError> {
        self.expect_word("SELECT")?;
        let select = self.select()?;
        self.expect_word("FROM")?;
        let from_at = self.at();
        let from = self.name()?.to_owned();
        let alias = match self.kind() {
            Kind::Word(word) if !is_one_of(word, &CLAUSES) => Some(self.name()?.to_owned()),
            _ => None,
        };
        let filter = if self.word("WHERE") {
            Some(self.conditions()?)
        } else {
            None
        };
        let order = if self.word("ORDER") {
            self.order()?
        } else {
            Vec::new()
        };
        let limit = if self.word("LIMIT") {
            Some(self.count()?)
        } else {
            None
        };
        let offset = if self.word("OFFSET") {
            Some(self.count()?)
        } else {
            None
        };
        if self.kind() != Kind::End {
            return Err(self.unexpected());
        }
        if offset.is_some_and(|offset| offset > MAX_OFFSET) {
            let what = format!("Maximum SOQL offset allowed is {MAX_OFFSET}");
            return Err(SoqlError::plain(code::OUTSIDE_RANGE, what));
        }
        let text = self.text.to_owned();
        Ok(Query {
            text,
            select,
            from,
            from_at,
            alias,
            filter,
            order,
            limit,
            offset,
        })
    }

    fn select(&mut self) -> Result<Select, SoqlError> {
        let at = self.at();
        if self.call("COUNT") {
            if self.kind() != Kind::Close {
                return Err(self.fault(
                    at,
                    "aggregate functions other than COUNT() are not supported",
                ));
            }
            self.step();
            return Ok(Select::Count);
        }
        if self.call("FIELDS") {
            if !self.word("ALL") {
                return Err(self.fault(at, "FIELDS() is supported with ALL only"));
            }
            self.expect(Kind::Close)?;
            return Ok(Select::All { at });
        }
        let mut fields = vec![self.path()?];
        while self.kind() == Kind::Comma {
            self.step();
            fields.push(self.path()?);
        }
        Ok(Select::Fields(fields))
    }

    fn order(&mut self) -> Result<Vec<Order>, SoqlError> {
        self.expect_word("BY")?;
        let mut keys = Vec::new();
        loop {
            let path = self.path()?;
            let descending = self.word("DESC");
            if !descending {
                // Ascending is the default; the word changes nothing.
                self.word("ASC");
            }
            let mut nulls_last = false;
            if self.word("NULLS") {
                nulls_last = self.word("LAST");
                if !nulls_last {
                    self.expect_word("FIRST")?;
                }
            }
            keys.push(Order {
                path,
                descending,
                nulls_last,
            });
            if self.kind() != Kind::Comma {
                return Ok(keys);
            }
            self.step();
        }
    }

    /// Terms joined by one kind of connective.
    fn conditions(&mut self) -> Result<Condition, SoqlError> {
        let first = if self.word("NOT") {
            self.deeper(|parser| Ok(Condition::Not(Box::new(parser.negated()?))))?
        } else {
            self.condition()?
        };
        let connective = match self.kind() {
            Kind::Word(word) if word.eq_ignore_ascii_case("AND") => "AND",
            Kind::Word(word) if word.eq_ignore_ascii_case("OR") => "OR",
            _ => return Ok(first),
        };
        let mut terms = vec![first];
        while self.word(connective) {
            terms.push(self.condition()?);
        }
        Ok(if connective == "AND" {
            Condition::All(terms)
        } else {
            Condition::Any(terms)
        })
    }

    /// What stands after `NOT`: another `NOT`, or one term.
    fn negated(&mut self) -> Result<Condition, SoqlError> {
        if self.word("NOT") {
            self.deeper(|parser| Ok(Condition::Not(Box::new(parser.negated()?))))
        } else {
            self.condition()
        }
    }

    /// A parenthesis or one comparison.
    fn condition(&mut self) -> Result<Condition, SoqlError> {
        if self.kind() != Kind::Open {
            return self.comparison();
        }
        self.step();
        let inner = self.deeper(Self::conditions)?;
        self.expect(Kind::Close)?;
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Condition, SoqlError> {
        let path = self.path()?;
        match self.kind() {
            Kind::Operator(operator) => {
                self.step();
                let literal = self.literal()?;
                Ok(Condition::Compare {
                    path,
                    operator,
                    literal,
                })
            }
            Kind::Word(word) if word.eq_ignore_ascii_case("LIKE") => {
                self.step();
                let pattern = self.pattern()?;
                Ok(Condition::Like { path, pattern })
            }
            Kind::Word(word) if word.eq_ignore_ascii_case("IN") => {
                self.step();
                self.list(path, false)
            }
            Kind::Word(word) if word.eq_ignore_ascii_case("NOT") => {
                self.step();
                self.expect_word("IN")?;
                self.list(path, true)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn list(&mut self, path: Path, negated: bool) -> Result<Condition, SoqlError> {
        self.expect(Kind::Open)?;
        if matches!(self.kind(), Kind::Word(word) if word.eq_ignore_ascii_case("SELECT")) {
            let what = "semi-join sub-selects are not supported: at most 0 allowed";
            return Err(SoqlError::at(self.text, self.at(), code::SEMIJOIN, what));
        }
        let mut literals = vec![self.literal()?];
        while self.kind() == Kind::Comma {
            self.step();
            literals.push(self.literal()?);
        }
        self.expect(Kind::Close)?;
        Ok(Condition::Within {
            path,
            negated,
            literals,
        })
    }

    fn literal(&mut self) -> Result<Literal, SoqlError> {
        let at = self.at();
        let literal = match self.kind() {
            Kind::Number(number) => Literal::Number(number),
            Kind::DateTime(moment) => Literal::DateTime(moment),
            Kind::Date(day) => Literal::Date(day),
            Kind::Quoted(raw) => Literal::Text(self.unescaped(raw, at)?),
            Kind::Word(word) => return self.word_literal(word),
            _ => return Err(self.unexpected()),
        };
        self.step();
        Ok(literal)
    }

    /// `null`, the booleans, and the date literals of "Date Formats and Date Literals" that are supported.
    fn word_literal(&mut self, word: &str) -> Result<Literal, SoqlError> {
        let days = |first, last| Literal::Days { first, last };
        let plain = match word.to_ascii_uppercase().as_str() {
            "NULL" => Some(Literal::Null),
            "TRUE" => Some(Literal::Bool(true)),
            "FALSE" => Some(Literal::Bool(false)),
            "YESTERDAY" => Some(days(-1, -1)),
            "TODAY" => Some(days(0, 0)),
            "TOMORROW" => Some(days(1, 1)),
            _ => None,
        };
        if let Some(literal) = plain {
            self.step();
            return Ok(literal);
        }
        let past = word.eq_ignore_ascii_case("LAST_N_DAYS");
        if !past && !word.eq_ignore_ascii_case("NEXT_N_DAYS") {
            return Err(self.unexpected());
        }
        self.step();
        self.expect(Kind::Colon)?;
        let at = self.at();
        let count = self.count()?;
        // Far beyond the documented range of dates, and small enough for any arithmetic on days.
        let count = i64::try_from(count)
            .ok()
            .filter(|count| *count <= 1_000_000);
        let Some(count) = count else {
            return Err(self.fault(at, "the number of days is out of range"));
        };
        Ok(if past {
            days(-count, 0)
        } else {
            days(1, count)
        })
    }

    fn pattern(&mut self) -> Result<Vec<Glob>, SoqlError> {
        let at = self.at();
        let Kind::Quoted(raw) = self.kind() else {
            return Err(self.unexpected());
        };
        let mut pattern = Vec::with_capacity(raw.len());
        self.each_char(
            raw,
            at,
            |c, escaped| {
                pattern.push(match c {
                    '%' if !escaped => Glob::Run,
                    '_' if !escaped => Glob::One,
                    c => Glob::Exactly(c),
                });
            },
            true,
        )?;
        self.step();
        pattern.dedup_by(|b, a| *a == Glob::Run && *b == Glob::Run);
        Ok(pattern)
    }

    fn unescaped(&self, raw: &str, at: usize) -> Result<String, SoqlError> {
        let mut text = String::with_capacity(raw.len());
        self.each_char(raw, at, |c, _| text.push(c), false)?;
        Ok(text)
    }

    /// Hands on each character of a string literal that starts at `at`, and whether it was written as an escape.
    ///
    /// The escapes are those of "Quoted String Escape Sequences"; `\%` and `\_` count in a `LIKE` pattern only.
    fn each_char(
        &self,
        raw: &str,
        at: usize,
        mut take: impl FnMut(char, bool),
        like: bool,
    ) -> Result<(), SoqlError> {
        let mut count = 0_usize;
        let mut chars = raw.char_indices();
        while let Some((offset, c)) = chars.next() {
            count += 1;
            if c != '\\' {
                take(c, false);
                continue;
            }
            let illegal = || {
                self.fault(
                    at + 1 + offset,
                    "Illegal string escape sequence; use '\\\\' for a backslash",
                )
            };
            let (_, escape) = chars.next().ok_or_else(illegal)?;
            let meant = match escape {
                'n' | 'N' => '\n',
                'r' | 'R' => '\r',
                't' | 'T' => '\t',
                'b' | 'B' => '\u{8}',
                'f' | 'F' => '\u{c}',
                '"' | '\'' | '\\' => escape,
                '%' | '_' if like => escape,
                'u' => {
                    let unit = code_unit(&mut chars).ok_or_else(illegal)?;
                    match char::from_u32(unit) {
                        Some(c) => c,
                        None => surrogate_pair(unit, &mut chars).ok_or_else(illegal)?,
                    }
                }
                _ => return Err(illegal()),
            };
            take(meant, true);
        }
        if count > MAX_STRING_CHARS {
            let what =
                format!("string literals cannot be longer than {MAX_STRING_CHARS} characters");
            return Err(self.fault(at, &what));
        }
        Ok(())
    }

    fn path(&mut self) -> Result<Path, SoqlError> {
        let at = self.at();
        let mut segments = vec![self.name()?.to_owned()];
        while self.kind() == Kind::Dot {
            self.step();
            segments.push(self.name()?.to_owned());
        }
        Ok(Path { segments, at })
    }

    /// A whole number that is not negative.
    fn count(&mut self) -> Result<u64, SoqlError> {
        match self.kind() {
            // 2^53: beyond it a float no longer holds every whole number.
            Kind::Number(number)
                if number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number) =>
            {
                self.step();
                Ok(number as u64)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn name(&mut self) -> Result<&'t str, SoqlError> {
        let Kind::Word(word) = self.kind() else {
            return Err(self.unexpected());
        };
        if is_one_of(word, &RESERVED) {
            return Err(self.unexpected());
        }
        self.step();
        Ok(word)
    }

    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, SoqlError>,
    ) -> Result<T, SoqlError> {
        if self.depth >= MAX_NESTING {
            let what = format!("conditions are nested more than {MAX_NESTING} levels deep");
            return Err(SoqlError::at(
                self.text,
                self.at(),
                code::TOO_COMPLICATED,
                &what,
            ));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn token(&self) -> &Token<'t> {
        // `step` never leaves the last token, so the index is always good; the constant only satisfies the type.
        const END: Token<'static> = Token {
            kind: Kind::End,
            at: usize::MAX,
            text: "<EOF>",
        };
        self.tokens.get(self.next).unwrap_or(&END)
    }

    fn kind(&self) -> Kind<'t> {
        self.token().kind
    }

    fn at(&self) -> usize {
        self.token().at
    }

    fn step(&mut self) {
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
    }

    /// Steps over `name(` if it stands here.
    fn call(&mut self, name: &str) -> bool {
        let opened = self
            .tokens
            .get(self.next + 1)
            .is_some_and(|token| token.kind == Kind::Open);
        opened && self.word(name) && {
            self.step();
            true
        }
    }

    /// Steps over a keyword if it stands here.
    fn word(&mut self, keyword: &str) -> bool {
        let here = matches!(self.kind(), Kind::Word(word) if word.eq_ignore_ascii_case(keyword));
        if here {
            self.step();
        }
        here
    }

    fn expect_word(&mut self, keyword: &str) -> Result<(), SoqlError> {
        if self.word(keyword) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn expect(&mut self, kind: Kind<'_>) -> Result<(), SoqlError> {
        if self.kind() != kind {
            return Err(self.unexpected());
        }
        self.step();
        Ok(())
    }

    fn unexpected(&self) -> SoqlError {
        let token = self.token();
        let what = format!("unexpected token: '{}'", token.text);
        SoqlError::at(self.text, token.at, code::MALFORMED_QUERY, &what)
    }

    fn fault(&self, at: usize, what: &str) -> SoqlError {
        SoqlError::at(self.text, at, code::MALFORMED_QUERY, what)
    }
}

fn is_one_of(word: &str, keywords: &[&str]) -> bool {
    keywords
        .iter()
        .any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// The four hexadecimal digits of a `\u` escape.
fn code_unit(chars: &mut std::str::CharIndices<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| {
        let (_, digit) = chars.next()?;
        Some(unit * 16 + digit.to_digit(16)?)
    })
}

/// The character of a high surrogate and the low one that has to follow it as another `\u` escape.
fn surrogate_pair(high: u32, chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let escape = [chars.next()?.1, chars.next()?.1];
    if escape != ['\\', 'u'] {
        return None;
    }
    let low = code_unit(chars)?;
    if !(0xD800..0xDC00).contains(&high) || !(0xDC00..0xE000).contains(&low) {
        return None;
    }
    char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))
}
