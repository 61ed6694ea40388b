//! What the subset accepts, refuses and answers, as tables of named cases.

use chrono::{DateTime, NaiveDate, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{FieldInfo, FieldKind, Row, Schema, SoqlError, Value, parse};

/// An org with contacts, their accounts and their history.
struct Org;

impl Schema for Org {
    fn object(&self, name: &str) -> Option<String> {
        ["Contact", "Account", "ContactHistory"]
            .into_iter()
            .find(|object| object.eq_ignore_ascii_case(name))
            .map(str::to_owned)
    }

    fn field(&self, object: &str, name: &str) -> Option<FieldInfo> {
        use FieldKind::{
            Any, Boolean, CaseSensitiveText, Date, DateTime, Id, Number, Reference, Text,
        };
        let fields: &[(&str, FieldKind)] = match object {
            "Contact" => &[
                ("Id", Id),
                ("AccountId", Reference),
                ("Email", Text),
                ("Code__c", CaseSensitiveText),
                ("HasOptedOutOfEmail", Boolean),
                ("SystemModstamp", DateTime),
                ("Birthdate", Date),
                ("Score__c", Number),
                ("Description", Text),
            ],
            "Account" => &[("Id", Id), ("Name", Text)],
            "ContactHistory" => &[
                ("Id", Id),
                ("Field", Text),
                ("NewValue", Any),
                ("Loose", Any),
                ("CreatedDate", DateTime),
            ],
            _ => &[],
        };
        fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(field, kind)| FieldInfo {
                name: (*field).to_owned(),
                kind: *kind,
                filterable: !matches!(*field, "Description" | "NewValue"),
                sortable: *field != "Description",
            })
    }

    fn relationship(&self, object: &str, name: &str) -> Option<(String, String)> {
        let pair = |target: &str, key: &str| Some((target.to_owned(), key.to_owned()));
        match (object, name.to_ascii_lowercase().as_str()) {
            ("Contact", "account") => pair("Account", "AccountId"),
            ("Contact", "donor__r") => pair("Account", "Donor__c"),
            _ => None,
        }
    }

    fn fields(&self, object: &str) -> Vec<String> {
        if object == "Account" {
            vec!["Id".to_owned(), "Name".to_owned()]
        } else {
            Vec::new()
        }
    }

    fn now(&self) -> Option<DateTime<Utc>> {
        Some(moment("2026-05-15T12:00:00Z"))
    }
}

/// An org that has told nothing about its clock.
struct Clockless;

impl Schema for Clockless {
    fn object(&self, name: &str) -> Option<String> {
        Org.object(name)
    }
    fn field(&self, object: &str, name: &str) -> Option<FieldInfo> {
        Org.field(object, name)
    }
    fn relationship(&self, object: &str, name: &str) -> Option<(String, String)> {
        Org.relationship(object, name)
    }
}

/// A row as pairs of dotted path and value.
#[derive(Clone, Debug, PartialEq)]
struct Record(Vec<(&'static str, Value)>);

impl Row for Record {
    fn get(&self, path: &[String]) -> Value {
        let dotted = path.join(".");
        self.0
            .iter()
            .find(|(name, _)| *name == dotted)
            .map_or(Value::Null, |(_, value)| value.clone())
    }
}

fn moment(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_utc()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn fault(statement: &str) -> SoqlError {
    match parse(statement) {
        Err(error) => error,
        Ok(query) => match query.check(&Org) {
            Err(error) => error,
            Ok(plan) => panic!("accepted: {statement}\n{plan:?}"),
        },
    }
}

fn plan(statement: &str) -> super::Plan {
    let query = parse(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    query
        .check(&Org)
        .unwrap_or_else(|error| panic!("{statement}: {error}"))
}

const ANN: &str = "0035e00000A1b2cAAB";

/// The row that every condition of the table is held against.
fn ann() -> Record {
    Record(vec![
        ("Id", text(ANN)),
        ("AccountId", text("001D000000IqhSLIAZ")),
        ("Email", text("Ann.O'Hara@Example.com")),
        ("Code__c", text("aBc")),
        ("HasOptedOutOfEmail", Value::Bool(true)),
        (
            "SystemModstamp",
            Value::DateTime(moment("2026-05-01T10:00:00.700Z")),
        ),
        (
            "Birthdate",
            Value::Date(NaiveDate::from_ymd_opt(1980, 2, 29).unwrap_or_default()),
        ),
        ("Score__c", Value::Number(1.5)),
        ("Account.Name", text("Bäckerei ÖHL 100%_\\")),
    ])
}

#[test]
fn conditions_on_one_row() {
    #[rustfmt::skip]
    let cases: &[(&str, bool, &str)] = &[
        ("an equal text in another case is equal", true, "Email = 'ANN.o\\'hara@example.COM'"),
        ("other text is not equal", false, "Email = 'ann@example.com'"),
        ("not-equal is the opposite", false, "Email != 'ann.o\\'hara@example.com'"),
        ("the other spelling of not-equal", true, "Email <> 'x'"),
        ("text has an order, also without case", true, "Email > 'AAA' AND Email < 'b'"),
        ("case folding is not limited to ASCII", true, "Account.Name = 'bÄCKEREI öhl 100%_\\\\'"),
        ("case-sensitive text is equal to itself", true, "Code__c = 'aBc'"),
        ("case-sensitive text differs by case", false, "Code__c = 'abc'"),
        ("case-sensitive text in a list", false, "Code__c IN ('abc', 'ABC')"),
        ("case-sensitive text in a pattern", false, "Code__c LIKE 'ab%'"),
        ("an id of 18 characters", true, "Id = '0035e00000A1b2cAAB'"),
        ("the same id in 15 characters", true, "Id = '0035e00000A1b2c'"),
        ("an id in another case is another id", false, "Id = '0035e00000a1b2c'"),
        ("ids have an order, for paging by key", true, "Id > '0035e00000A1b2bAAA'"),
        ("a paging key does not find itself", false, "Id > '0035e00000A1b2c'"),
        ("a reference compares like an id", true, "AccountId = '001D000000IqhSL'"),
        ("a list of ids", true, "Id IN ('0035e00000A1b2d', '0035e00000A1b2c')"),
        ("a list of ids without this one", true, "Id NOT IN ('0035e00000A1b2d')"),
        ("booleans in any case", true, "HasOptedOutOfEmail = TrUe"),
        ("the other boolean", false, "HasOptedOutOfEmail = FALSE"),
        ("not the other boolean", true, "HasOptedOutOfEmail != false"),
        ("a boolean in a list", true, "HasOptedOutOfEmail IN (false, true)"),
        ("a checkbox is never null", false, "HasOptedOutOfEmail = null"),
        ("a time equals its second, whatever the fraction", true, "SystemModstamp = 2026-05-01T10:00:00Z"),
        ("the fraction of a literal is ignored", true, "SystemModstamp >= 2026-05-01T10:00:00.999Z"),
        ("later in the same second is not later", false, "SystemModstamp > 2026-05-01T10:00:00.000Z"),
        ("an offset with a colon", true, "SystemModstamp = 2026-05-01T12:00:00+02:00"),
        ("zero offset", true, "SystemModstamp <= 2026-05-01T10:00:00+00:00"),
        ("a time in a list", true, "SystemModstamp IN (2026-05-01T10:00:00Z)"),
        ("a day equals itself", true, "Birthdate = 1980-02-29"),
        ("a day comes before the next", true, "Birthdate < 1980-03-01"),
        ("a number", true, "Score__c = 1.5"),
        ("a negative number", true, "Score__c > -2"),
        ("a number in a list", false, "Score__c IN (1, 2)"),
        ("a blank field is null", true, "Donor__r.Name = null"),
        ("a field with a value is not null", true, "Email != NULL"),
        ("empty text means null", true, "Donor__r.Name = ''"),
        ("not-equal keeps nulls", true, "Donor__r.Name != 'x'"),
        ("not-in keeps nulls", true, "Donor__r.Name NOT IN ('x')"),
        ("not-in with null in the list drops nulls", false, "Donor__r.Name NOT IN ('x', null)"),
        ("in with null in the list finds nulls", true, "Donor__r.Name IN ('x', null)"),
        ("nothing is less than null", false, "Donor__r.Name < 'x'"),
        ("nothing is like null", false, "Donor__r.Name LIKE '%'"),
        ("a percent sign stands for any run", true, "Email LIKE 'ann%example.com'"),
        ("also for none", true, "Email LIKE '%ann.o\\'hara@example.com%'"),
        ("an underscore stands for one character", true, "Email LIKE 'ann_o_hara@%'"),
        ("but not for none", false, "Email LIKE 'ann.o\\'hara@example.com_'"),
        ("a pattern has to cover the whole value", false, "Email LIKE 'ann'"),
        ("a pattern tries again further on", true, "Email LIKE '%a@%a%le.com'"),
        ("escaped wildcards stand for themselves", true, "Account.Name LIKE '%100\\%\\__'"),
        ("an escaped wildcard is not a wildcard", false, "Email LIKE 'ann\\%'"),
        ("an escaped backslash before a wildcard", true, "Account.Name LIKE '%\\\\'"),
        ("and and or with parentheses", true, "(Email = 'x' OR Score__c = 1.5) AND HasOptedOutOfEmail = true"),
        ("three terms of one kind need none", true, "Email = 'x' OR Email = 'y' OR Score__c > 1"),
        ("not turns one term around", false, "NOT Score__c = 1.5"),
        ("not in a parenthesis", true, "Score__c = 1.5 AND (NOT Email LIKE 'x%')"),
        ("not binds closer than and", true, "NOT Email = 'x' AND Score__c = 1.5"),
        ("two nots cancel out", true, "NOT NOT Score__c = 1.5"),
        ("not of a comparison with null is true", true, "NOT Donor__r.Name = 'x'"),
        ("the usual paging condition", true, "(SystemModstamp = 2026-05-01T10:00:00Z AND Id > '0035e00000A1b2b') OR SystemModstamp > 2026-05-01T10:00:00Z"),
        ("needless parentheses do no harm", true, "((((Score__c = 1.5))))"),
        ("field names in any case, with the object's name", true, "contact.EMAIL like 'ann%' and account.name != null"),
        ("the last n days include the day they start", true, "SystemModstamp = LAST_N_DAYS:14"),
        ("but not the day before", false, "SystemModstamp = LAST_N_DAYS:13"),
        ("before today", true, "SystemModstamp < TODAY"),
        ("not before the span began", false, "SystemModstamp < LAST_N_DAYS:14"),
        ("not after the span", false, "Birthdate > TOMORROW"),
        ("a date field takes date literals too", true, "Birthdate < YESTERDAY"),
        ("the next n days are in the future", false, "SystemModstamp = NEXT_N_DAYS:3"),
        ("line breaks and tabs are spaces", true, "\n\tScore__c\r\n=\t1.5\n"),
        ("no spaces where none are needed", true, "(Score__c=1.5)AND(Email!='x')"),
    ];
    for (name, expected, condition) in cases {
        let plan = plan(&format!("SELECT Id FROM Contact WHERE {condition}"));
        assert_eq!(plan.matches(&ann()), *expected, "{name}: {condition}");
    }
}

#[test]
fn escapes_mean_the_documented_characters() {
    #[rustfmt::skip]
    let cases: &[(&str, &str, &str)] = &[
        ("control characters", "\\n\\r\\t\\b\\f", "\n\r\t\u{8}\u{c}"),
        ("capital letters mean the same", "\\N\\R\\T\\B\\F", "\n\r\t\u{8}\u{c}"),
        ("quotes and the backslash", "\\\"\\'\\\\", "\"'\\"),
        ("a character by its code", "\\u00e9\\u00C9", "éÉ"),
        ("a character beyond 16 bits as two units", "\\uD83D\\uDE00", "😀"),
        ("wildcards are plain outside of patterns", "50%_", "50%_"),
    ];
    for (name, written, meant) in cases {
        let plan = plan(&format!(
            "SELECT Id FROM Contact WHERE Code__c = '{written}'"
        ));
        let row = Record(vec![("Code__c", text(meant))]);
        assert!(plan.matches(&row), "{name}: {written}");
    }
}

#[test]
fn refusals_carry_the_vendors_code() {
    let deep = format!(
        "SELECT Id FROM Contact WHERE {}Score__c = 1{}",
        "(".repeat(5_000),
        ")".repeat(5_000)
    );
    let deep_not = format!(
        "SELECT Id FROM Contact WHERE {} Score__c = 1",
        "NOT ".repeat(5_000)
    );
    let long = format!(
        "SELECT Id FROM Contact WHERE Email = '{}'",
        "x".repeat(100_000)
    );
    let wordy = format!(
        "SELECT Id FROM Contact WHERE Email = '{}'",
        "é".repeat(4_001)
    );
    #[rustfmt::skip]
    let cases: &[(&str, &str, &str, &str)] = &[
        ("nothing at all", "MALFORMED_QUERY", "unexpected token: '<EOF>'", ""),
        ("no field", "MALFORMED_QUERY", "unexpected token", "SELECT FROM Contact"),
        ("a trailing comma", "MALFORMED_QUERY", "unexpected token: 'FROM'", "SELECT Id, FROM Contact"),
        ("a star", "MALFORMED_QUERY", "no viable alternative at character '*'", "SELECT * FROM Contact"),
        ("words after the end", "MALFORMED_QUERY", "unexpected token: 'x'", "SELECT Id FROM Contact c x"),
        ("a semicolon", "MALFORMED_QUERY", "character ';'", "SELECT Id FROM Contact;"),
        ("a condition without a value", "MALFORMED_QUERY", "'<EOF>'", "SELECT Id FROM Contact WHERE Email ="),
        ("and beside or", "MALFORMED_QUERY", "unexpected token: 'OR'", "SELECT Id FROM Contact WHERE Email = 'a' AND Score__c = 1 OR Score__c = 2"),
        ("or beside and", "MALFORMED_QUERY", "unexpected token: 'and'", "SELECT Id FROM Contact WHERE Email = 'a' or Score__c = 1 and Score__c = 2"),
        ("not after and", "MALFORMED_QUERY", "unexpected token: 'NOT'", "SELECT Id FROM Contact WHERE Email = 'a' AND NOT (Score__c = 1)"),
        ("a parenthesis left open", "MALFORMED_QUERY", "'<EOF>'", "SELECT Id FROM Contact WHERE (Email = 'a'"),
        ("a parenthesis too many", "MALFORMED_QUERY", "')'", "SELECT Id FROM Contact WHERE Email = 'a')"),
        ("an empty list", "MALFORMED_QUERY", "')'", "SELECT Id FROM Contact WHERE Email IN ()"),
        ("a string without an end", "MALFORMED_QUERY", "mismatched character '<EOF>' expecting '''", "SELECT Id FROM Contact WHERE Email = 'a"),
        ("a quote that is not escaped", "MALFORMED_QUERY", "", "SELECT Id FROM Contact WHERE Email = 'O'Hara'"),
        ("a lone backslash", "MALFORMED_QUERY", "escape", "SELECT Id FROM Contact WHERE Email = 'a\\d'"),
        ("a backslash that eats the closing quote", "MALFORMED_QUERY", "", "SELECT Id FROM Contact WHERE Email = 'a\\'"),
        ("an escaped wildcard outside of a pattern", "MALFORMED_QUERY", "escape", "SELECT Id FROM Contact WHERE Email = '50\\%'"),
        ("a code with too few digits", "MALFORMED_QUERY", "escape", "SELECT Id FROM Contact WHERE Email = '\\u00e'"),
        ("half of a surrogate pair", "MALFORMED_QUERY", "escape", "SELECT Id FROM Contact WHERE Email = '\\uD83D'"),
        ("a low surrogate first", "MALFORMED_QUERY", "escape", "SELECT Id FROM Contact WHERE Email = '\\uDE00\\uD83D'"),
        ("a time whose plus sign became a space", "MALFORMED_QUERY", "unexpected token", "SELECT Id FROM Contact WHERE SystemModstamp > 2026-05-01T10:00:00 00:00"),
        ("a time without a zone", "MALFORMED_QUERY", "unexpected token", "SELECT Id FROM Contact WHERE SystemModstamp > 2026-05-01T10:00:00"),
        ("a time as the REST answers print it", "MALFORMED_QUERY", "unexpected token", "SELECT Id FROM Contact WHERE SystemModstamp > 2026-05-01T10:00:00.000+0000"),
        ("a day that does not exist", "MALFORMED_QUERY", "unexpected token", "SELECT Id FROM Contact WHERE Birthdate = 2025-02-29"),
        ("a year out of range", "MALFORMED_QUERY", "1700", "SELECT Id FROM Contact WHERE Birthdate = 1699-12-31"),
        ("an unknown word as value", "MALFORMED_QUERY", "unexpected token: 'yes'", "SELECT Id FROM Contact WHERE HasOptedOutOfEmail = yes"),
        ("a bind variable", "MALFORMED_QUERY", "unexpected token: ':'", "SELECT Id FROM Contact WHERE Email = :email"),
        ("an exponent", "MALFORMED_QUERY", "unexpected token: '1e3'", "SELECT Id FROM Contact WHERE Score__c = 1e3"),
        ("too long a statement", "MALFORMED_QUERY", "100000", &long),
        ("too long a string", "MALFORMED_QUERY", "4000", &wordy),
        ("deep parentheses", "QUERY_TOO_COMPLICATED", "nested", &deep),
        ("deep negation", "QUERY_TOO_COMPLICATED", "nested", &deep_not),
        ("a semi-join", "EXCEEDED_MAX_SEMIJOIN_SUBSELECTS", "", "SELECT Id FROM Contact WHERE AccountId IN (SELECT Id FROM Account)"),
        ("an aggregate", "MALFORMED_QUERY", "COUNT()", "SELECT COUNT(Id) FROM Contact"),
        ("a child sub-select", "MALFORMED_QUERY", "'('", "SELECT Id, (SELECT Id FROM Contacts) FROM Account"),
        ("grouping", "MALFORMED_QUERY", "'GROUP'", "SELECT Email FROM Contact GROUP BY Email"),
        ("a negative limit", "MALFORMED_QUERY", "'-1'", "SELECT Id FROM Contact LIMIT -1"),
        ("a broken limit", "MALFORMED_QUERY", "'1.5'", "SELECT Id FROM Contact LIMIT 1.5"),
        ("limit before order", "MALFORMED_QUERY", "'ORDER'", "SELECT Id FROM Contact LIMIT 1 ORDER BY Id"),
        ("too far an offset", "NUMBER_OUTSIDE_VALID_RANGE", "2000", "SELECT Id FROM Contact OFFSET 2001"),
        ("all fields without a limit", "MALFORMED_QUERY", "LIMIT of at most 200", "SELECT FIELDS(ALL) FROM Account"),
        ("all fields with too high a limit", "MALFORMED_QUERY", "LIMIT of at most 200", "SELECT FIELDS(ALL) FROM Account LIMIT 201"),
        ("count with order", "MALFORMED_QUERY", "COUNT()", "SELECT COUNT() FROM Contact ORDER BY Id"),
        ("an unknown object", "INVALID_TYPE", "sObject type 'Contacts' is not supported.", "SELECT Id FROM Contacts"),
        ("an unknown column", "INVALID_FIELD", "No such column 'Mail' on entity 'Contact'.", "SELECT Mail FROM Contact"),
        ("an unknown column in a condition", "INVALID_FIELD", "No such column 'Mail'", "SELECT Id FROM Contact WHERE Mail = 'x'"),
        ("an unknown column in the order", "INVALID_FIELD", "No such column 'Mail'", "SELECT Id FROM Contact ORDER BY Mail"),
        ("an unknown column of the parent", "INVALID_FIELD", "No such column 'Email' on entity 'Account'", "SELECT Account.Email FROM Contact"),
        ("an unknown relationship", "INVALID_FIELD", "Didn't understand relationship 'Owner'", "SELECT Owner.Name FROM Contact"),
        ("a field twice", "INVALID_FIELD", "duplicate field selected: Id", "SELECT Id, Email, ID FROM Contact"),
        ("a field that cannot be filtered", "INVALID_FIELD", "field 'NewValue' can not be filtered in a query call", "SELECT Id FROM ContactHistory WHERE NewValue = 'true'"),
        ("a field that cannot be sorted", "INVALID_FIELD", "field 'Description' can not be sorted in a query call", "SELECT Id FROM Contact ORDER BY Description"),
        ("a quoted time", "INVALID_FIELD", "'SystemModstamp' must be of type dateTime and should not be enclosed in quotes", "SELECT Id FROM Contact WHERE SystemModstamp > '2026-05-01T10:00:00Z'"),
        ("a day where a time is due", "INVALID_FIELD", "must be of type dateTime", "SELECT Id FROM Contact WHERE SystemModstamp > 2026-05-01"),
        ("a time where a day is due", "INVALID_FIELD", "must be of type date and", "SELECT Id FROM Contact WHERE Birthdate > 2026-05-01T10:00:00Z"),
        ("a quoted boolean", "INVALID_FIELD", "must be of type boolean and should not be enclosed in quotes", "SELECT Id FROM Contact WHERE HasOptedOutOfEmail = 'true'"),
        ("a number for text", "INVALID_FIELD", "must be of type string and should be enclosed in quotes", "SELECT Id FROM Contact WHERE Email = 5"),
        ("a number for an id", "INVALID_FIELD", "must be of type string", "SELECT Id FROM Contact WHERE Id IN (5)"),
        ("text for a number", "INVALID_FIELD", "must be of type double", "SELECT Id FROM Contact WHERE Score__c = '5'"),
        ("text that is no id", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: ann", "SELECT Id FROM Contact WHERE Id = 'ann'"),
        ("an id with a strange character", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field", "SELECT Id FROM Contact WHERE Id = '0035e00000A1b2é'"),
        ("a pattern for an id", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on id field", "SELECT Id FROM Contact WHERE Id LIKE '003%'"),
        ("an order of booleans", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on boolean field", "SELECT Id FROM Contact WHERE HasOptedOutOfEmail > false"),
        ("an order of nulls", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator", "SELECT Id FROM Contact WHERE Score__c > null"),
    ];
    for (name, code, message, statement) in cases {
        let error = fault(statement);
        assert_eq!(error.code, *code, "{name}: {error}");
        assert!(error.message.contains(message), "{name}: {error}");
    }
}

#[test]
fn a_fault_is_shown_in_its_place() {
    let error = fault("SELECT Id, Foo FROM Contact");
    assert_eq!(error.code, "INVALID_FIELD");
    assert_eq!(
        error.message,
        "\nSELECT Id, Foo FROM Contact\n           ^\nERROR at Row:1:Column:12\nNo such column 'Foo' on entity \
         'Contact'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field \
         name. Please reference your WSDL or the describe call for the appropriate names."
    );

    let far = fault(
        "SELECT Id, Email\nFROM Contact WHERE Email = 'é' AND Score__c = 12345 AND Foo = 1 AND Score__c = 3",
    );
    let lines: Vec<&str> = far.message.lines().collect();
    assert_eq!(
        lines.get(1..4),
        Some(
            [
                "Email = 'é' AND Score__c = 12345 AND Foo = 1 AND Score__c = 3",
                "                                     ^",
                "ERROR at Row:2:Column:57",
            ]
            .as_slice()
        ),
        "counts rows and characters, and starts the excerpt with a whole word: {far}"
    );
}

#[test]
fn columns_are_canonical_and_in_order() {
    #[rustfmt::skip]
    let cases: &[(&str, &str, &[&str])] = &[
        ("names take the org's spelling", "select email, ID from CONTACT", &["Email", "Id"]),
        ("an alias falls away", "SELECT c.Id, c.Account.Name FROM Contact c", &["Id", "Account.Name"]),
        ("the object's own name falls away", "SELECT Contact.Id FROM Contact", &["Id"]),
        ("a relationship takes its canonical name", "SELECT ACCOUNT.name FROM Contact", &["Account.Name"]),
        ("a custom relationship too", "SELECT DONOR__R.Id FROM Contact", &["Donor__r.Id"]),
        ("all fields come in the org's order", "SELECT FIELDS(ALL) FROM Account LIMIT 200", &["Id", "Name"]),
        ("a count has none", "SELECT COUNT() FROM Contact", &[]),
    ];
    for (name, statement, expected) in cases {
        let plan = plan(statement);
        let columns: Vec<String> = plan.columns().iter().map(|path| path.join(".")).collect();
        assert_eq!(columns, *expected, "{name}: {statement}");
        assert_eq!(plan.is_count(), statement.contains("COUNT()"), "{name}");
    }
}

#[test]
fn rows_are_ordered_and_cut() {
    let row = |id: &str, email: Option<&str>, score: f64| {
        let mut fields = vec![("Id", text(id)), ("Score__c", Value::Number(score))];
        fields.extend(email.map(|email| ("Email", text(email))));
        Record(fields)
    };
    let rows = vec![
        row("003000000000001", Some("b"), 1.0),
        row("003000000000002", None, 2.0),
        row("003000000000003", Some("A"), 1.0),
        row("003000000000004", Some("B"), 3.0),
        row("003000000000005", Some(""), 1.0),
    ];
    #[rustfmt::skip]
    let cases: &[(&str, &str, &str)] = &[
        ("without a key the order stays", "", "12345"),
        ("ascending, nulls first, is the default", "ORDER BY Email, Id", "25314"),
        ("nulls stay first in descending order", "ORDER BY Email DESC, Id", "25143"),
        ("nulls last on demand", "ORDER BY Email ASC NULLS LAST, Id", "31425"),
        ("nulls first said aloud", "ORDER BY Email NULLS FIRST, Id DESC", "52341"),
        ("a second key decides ties", "ORDER BY Score__c DESC, Id DESC", "42531"),
        ("ties without a second key keep their order", "ORDER BY Score__c", "13524"),
        ("a limit takes the head", "ORDER BY Id DESC LIMIT 2", "54"),
        ("an offset skips", "ORDER BY Id OFFSET 3", "45"),
        ("an offset skips before the limit counts", "ORDER BY Id LIMIT 2 OFFSET 1", "23"),
        ("a limit without order", "LIMIT 2 OFFSET 1", "23"),
        ("a limit of none", "ORDER BY Id LIMIT 0", ""),
        ("an offset beyond the end", "ORDER BY Id LIMIT 3 OFFSET 9", ""),
        ("a limit beyond the end", "ORDER BY Id LIMIT 9007199254740992", "12345"),
    ];
    for (name, clause, expected) in cases {
        let mut sorted = rows.clone();
        plan(&format!("SELECT Id FROM Contact {clause}")).sort_limit(&mut sorted);
        let order: String = sorted
            .iter()
            .map(|row| match row.get(&["Id".to_owned()]) {
                Value::Text(id) => id.chars().last().unwrap_or('?'),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, *expected, "{name}: {clause}");
    }
}

#[test]
fn ids_that_a_condition_pins() {
    let a = "001D000000IqhSLIAZ";
    let b = "0035e00000A1b2cAAB";
    #[rustfmt::skip]
    let cases: &[(&str, &str, Option<&[&str]>)] = &[
        ("one id, given its checksum", "Id = '001D000000IqhSL'", Some(&[a])),
        ("a list", "Id IN ('0035e00000A1b2c', '001D000000IqhSLIAZ')", Some(&[a, b])),
        ("beside another term", "Email = 'x' AND Id = '001D000000IqhSL'", Some(&[a])),
        ("the shorter of two lists", "Id IN ('0035e00000A1b2c', '001D000000IqhSL') AND Id = '001D000000IqhSL'", Some(&[a])),
        ("in every branch of an or", "Id = '0035e00000A1b2c' OR (Id = '001D000000IqhSL' AND Email = 'x')", Some(&[a, b])),
        ("not in every branch", "Id = '001D000000IqhSL' OR Email = 'x'", None),
        ("negated", "NOT Id = '001D000000IqhSL'", None),
        ("not in", "Id NOT IN ('001D000000IqhSL')", None),
        ("after an id", "Id > '001D000000IqhSL'", None),
        ("the id of another record", "AccountId = '001D000000IqhSL'", None),
        ("the parent's id", "Account.Id = '001D000000IqhSL'", None),
    ];
    for (name, condition, expected) in cases {
        let ids = plan(&format!("SELECT Id FROM Contact WHERE {condition}")).equality_ids();
        let expected =
            expected.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert_eq!(ids, expected, "{name}: {condition}");
    }
    assert_eq!(
        plan("SELECT Id FROM Contact").equality_ids(),
        None,
        "no condition pins nothing"
    );
}

#[test]
fn lower_bounds_of_a_time() {
    #[rustfmt::skip]
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("from a time on", "SystemModstamp >= 2026-05-01T10:00:00Z", Some("2026-05-01T10:00:00Z")),
        ("a fraction is no part of the bound", "SystemModstamp >= 2026-05-01T10:00:00.9Z", Some("2026-05-01T10:00:00Z")),
        ("after a time means the next second", "SystemModstamp > 2026-05-01T10:00:00Z", Some("2026-05-01T10:00:01Z")),
        ("at a time", "SystemModstamp = 2026-05-01T10:00:00Z", Some("2026-05-01T10:00:00Z")),
        ("an upper bound is none", "SystemModstamp < 2026-05-01T10:00:00Z", None),
        ("a window", "SystemModstamp >= 2026-05-01T10:00:00Z AND SystemModstamp < 2026-05-02T10:00:00Z", Some("2026-05-01T10:00:00Z")),
        ("the later of two", "SystemModstamp > 2026-05-01T10:00:00Z AND (Email = 'x' AND SystemModstamp > 2026-06-01T00:00:00Z)", Some("2026-06-01T00:00:01Z")),
        ("the paging condition takes its earlier branch", "(SystemModstamp = 2026-05-01T10:00:00Z AND Id > '0035e00000A1b2b') OR SystemModstamp > 2026-05-01T10:00:00Z", Some("2026-05-01T10:00:00Z")),
        ("an or with an open branch", "SystemModstamp > 2026-05-01T10:00:00Z OR Email = 'x'", None),
        ("the earliest of a list", "SystemModstamp IN (2026-05-02T10:00:00Z, 2026-05-01T10:00:00Z)", Some("2026-05-01T10:00:00Z")),
        ("a list with null", "SystemModstamp IN (2026-05-02T10:00:00Z, null)", None),
        ("a negation", "NOT SystemModstamp < 2026-05-01T10:00:00Z", None),
        ("null", "SystemModstamp = null", None),
        ("today", "SystemModstamp = TODAY", Some("2026-05-15T00:00:00Z")),
        ("after yesterday", "SystemModstamp > YESTERDAY", Some("2026-05-15T00:00:00Z")),
        ("another field", "Birthdate > 2020-01-01", None),
    ];
    for (name, condition, expected) in cases {
        let bound = plan(&format!("SELECT Id FROM Contact WHERE {condition}"))
            .lower_bound("SystemModstamp");
        assert_eq!(bound, expected.map(moment), "{name}: {condition}");
    }
}

#[test]
fn the_object_is_known_before_the_org() {
    let statement = "SELECT Id FROM contact c WHERE Email = null LIMIT 5 OFFSET 6";
    let query = parse(statement).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (query.object(), query.limit(), query.offset()),
        ("contact", Some(5), Some(6))
    );
    assert_eq!(plan(statement).object(), "Contact");
}

#[test]
fn what_an_org_does_not_offer_is_refused() {
    let check = |statement| match parse(statement).and_then(|query| query.check(&Clockless)) {
        Err(error) => error,
        Ok(plan) => panic!("accepted: {statement}: {plan:?}"),
    };
    let today = check("SELECT Id FROM Contact WHERE SystemModstamp = TODAY");
    assert_eq!(
        today.code, "MALFORMED_QUERY",
        "no clock, no date literals: {today}"
    );
    let all = check("SELECT FIELDS(ALL) FROM Contact LIMIT 1");
    assert_eq!(
        all.code, "MALFORMED_QUERY",
        "no list of fields, no FIELDS(ALL): {all}"
    );
}

#[test]
fn any_type_compares_values_of_one_type() {
    let history = |value| Record(vec![("Loose", value)]);
    let plan = |literal| {
        plan(&format!(
            "SELECT Id FROM ContactHistory WHERE Loose = {literal}"
        ))
    };
    assert!(
        plan("true").matches(&history(Value::Bool(true))),
        "a boolean is a boolean"
    );
    assert!(
        !plan("'true'").matches(&history(Value::Bool(true))),
        "text is no boolean"
    );
    assert!(
        plan("'TRUE'").matches(&history(text("true"))),
        "text is text"
    );
}

/// Random bounds and rows: a bound never excludes a row that matches.
#[test]
fn quick_paths_never_lose_a_row() {
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..3_000 {
        let condition = random_condition(&mut random, 0);
        let plan = plan(&format!("SELECT Id FROM Contact WHERE {condition}"));
        let (bound, ids) = (plan.lower_bound("SystemModstamp"), plan.equality_ids());
        for _ in 0..20 {
            let second = random.random_range(0..20);
            let id = format!("00300000000000{}AAA", random.random_range(0..4));
            let modified = moment(&format!("2026-01-01T00:00:{second:02}.5Z"));
            let row = Record(vec![
                ("Id", text(&id)),
                ("SystemModstamp", Value::DateTime(modified)),
            ]);
            if plan.matches(&row) {
                assert!(
                    bound.is_none_or(|bound| modified >= bound),
                    "{condition}: {bound:?} hides {modified}"
                );
                assert!(
                    ids.as_ref().is_none_or(|ids| ids.contains(&id)),
                    "{condition}: {ids:?} hides {id}"
                );
            }
        }
    }
}

fn random_condition(random: &mut StdRng, depth: usize) -> String {
    if depth < 3 && random.random_bool(0.6) {
        let terms: Vec<String> = (0..random.random_range(1..4))
            .map(|_| random_condition(random, depth + 1))
            .collect();
        let joined = terms.join(if random.random_bool(0.5) {
            " AND "
        } else {
            " OR "
        });
        return if random.random_bool(0.2) {
            format!("(NOT ({joined}))")
        } else {
            format!("({joined})")
        };
    }
    if random.random_bool(0.3) {
        let operator = if random.random_bool(0.7) { "=" } else { "!=" };
        return format!(
            "Id {operator} '00300000000000{}'",
            random.random_range(0..4)
        );
    }
    let operator = ["=", "!=", "<", "<=", ">", ">="][random.random_range(0..6)];
    format!(
        "SystemModstamp {operator} 2026-01-01T00:00:{:02}Z",
        random.random_range(0..20)
    )
}

#[test]
fn no_input_panics() {
    const PIECES: [&str; 48] = [
        "SELECT ",
        "Id",
        "Email",
        ",",
        " FROM ",
        "Contact",
        " c",
        " WHERE ",
        " AND ",
        " OR ",
        " NOT ",
        "(",
        ")",
        "=",
        "!=",
        "<",
        ">",
        "<=",
        " LIKE ",
        " IN ",
        "'",
        "''",
        "'a'",
        "\\",
        "%",
        "_",
        "\\u",
        "d83d",
        "null",
        "true",
        "TODAY",
        "LAST_N_DAYS:",
        "9",
        "99999999999999999999",
        "2026-05-01",
        "T10:00:00Z",
        "+",
        "-",
        ".",
        ":",
        " ORDER BY ",
        " DESC",
        " NULLS ",
        " LIMIT ",
        " OFFSET ",
        "\n",
        "é",
        "😀",
    ];
    let mut random = StdRng::seed_from_u64(1);
    let mut accepted = 0;
    for round in 0..60_000_u32 {
        let statement = if round % 3 == 0 {
            let bytes: Vec<u8> = (0..random.random_range(0..80))
                .map(|_| random.random())
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            let tail: String = (0..random.random_range(0..12))
                .map(|_| PIECES[random.random_range(0..PIECES.len())])
                .collect();
            if round % 3 == 1 {
                tail
            } else {
                format!("SELECT Id FROM Contact WHERE Email = {tail}")
            }
        };
        if let Ok(plan) = parse(&statement).and_then(|query| query.check(&Org)) {
            accepted += 1;
            plan.matches(&ann());
            plan.sort_limit(&mut vec![ann(), ann()]);
            plan.lower_bound("SystemModstamp");
            plan.equality_ids();
        }
    }
    assert!(
        accepted > 50,
        "the pieces have to hit real statements at times, not {accepted}"
    );
}
