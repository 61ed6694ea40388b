//! What a query reads: a table, the joins from it, and columns that are found through them.

use super::tables::{Field, Kind, Table};
use crate::superoffice::errors::Trouble;
use crate::superoffice::lists::Kind as ListKind;
use crate::superoffice::state::State;

/// Most joins of one query.
pub(crate) const MAX_JOINS: usize = 20;

/// The archives that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    Person,
    RecyclePerson,
    ConsentPurpose,
    EmailAddress,
    Dynamic,
}

impl Provider {
    /// The archive with this name, in any case.
    pub(crate) fn named(name: &str) -> Option<Provider> {
        match name.to_ascii_lowercase().as_str() {
            "person" | "simpleperson" => Some(Provider::Person),
            "recycleperson" => Some(Provider::RecyclePerson),
            "consentpurpose" => Some(Provider::ConsentPurpose),
            "emailaddress" => Some(Provider::EmailAddress),
            "dynamic" => Some(Provider::Dynamic),
            _ => None,
        }
    }

    /// Columns of an answer when the client selects none.
    pub(crate) fn default_columns(self) -> &'static [&'static str] {
        match self {
            Provider::Person => &[
                "personId",
                "firstName",
                "lastName",
                "fullName",
                "email/emailAddress",
                "personNoMail",
                "retired",
                "isMailingRecipient",
                "hasStoreConsent",
                "withdrawnStoreConsent",
                "legalBaseStore",
                "consentSourceStore",
                "hasEmarketingConsent",
                "withdrawnEmarketingConsent",
                "legalBaseEmarketing",
                "consentSourceEmarketing",
                "personRegisteredDate",
                "personUpdatedDate",
            ],
            Provider::RecyclePerson => &["personId", "fullName", "personDeletedDate"],
            Provider::ConsentPurpose => &["consentPurposeId", "key", "name", "active"],
            Provider::EmailAddress => &["emailId", "emailAddress", "personId", "contactId"],
            Provider::Dynamic => &[],
        }
    }
}

/// How a joined row is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum How {
    /// The row that a column of the parent points at; `inner`: without one the result is dropped.
    Forward { field: &'static str, inner: bool },
    /// The rows that point at the parent.
    Back { field: &'static str, inner: bool },
    /// The primary address of a person, or all when addresses are searched.
    Addresses { all: bool },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Join {
    pub(super) parent: usize,
    pub(super) table: Table,
    pub(super) how: How,
}

/// What a column shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Field(&'static Field),
    /// Through the purpose with this number.
    HasConsent(i64),
    Withdrawn(i64),
    LegalBase(i64),
    Origin(i64),
    Recipient,
    Subscription,
    FullName,
    /// As [`Source::Field`], in the form of a named archive.
    Flag(&'static Field),
    By(&'static Field),
    Day(&'static Field),
    ListOf(&'static Field, ListKind),
    /// Consent given, of a consent row.
    Given,
    HasComment,
    /// `updated`, or `registered` of a row that was never updated.
    LastChange,
    Zero,
    /// The dynamic archive's way of asking for all rows.
    AllRows,
}

/// A column of a query.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// As the client wrote it.
    pub(crate) name: String,
    pub(super) slot: usize,
    pub(super) source: Source,
}

impl Column {
    pub(crate) fn kind(&self) -> Kind {
        match self.source {
            Source::Field(field) => field.kind,
            Source::HasConsent(_)
            | Source::Withdrawn(_)
            | Source::Recipient
            | Source::Flag(_)
            | Source::Given
            | Source::HasComment
            | Source::AllRows => Kind::Bool,
            Source::LegalBase(_)
            | Source::Origin(_)
            | Source::Subscription
            | Source::ListOf(..) => Kind::List,
            Source::FullName => Kind::Text,
            Source::By(_) => Kind::Associate,
            Source::Day(_) | Source::LastChange => Kind::Date,
            Source::Zero => Kind::Int,
        }
    }

    /// Whether it is this column of the table that the query starts from.
    pub(crate) fn is_root(&self, name: &str) -> bool {
        self.slot == 0
            && matches!(self.source, Source::Field(field) if field.name.eq_ignore_ascii_case(name))
    }

    /// Whether it is this column of any table.
    pub(crate) fn is_field(&self, name: &str) -> bool {
        matches!(self.source, Source::Field(field) if field.name.eq_ignore_ascii_case(name))
    }
}

/// A query's tables and columns.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) provider: Provider,
    pub(crate) root: Table,
    pub(super) joins: Vec<Join>,
    pub(crate) columns: Vec<Column>,
    /// Rows of the recycle bin too.
    pub(crate) with_deleted: bool,
}

impl Plan {
    /// An empty query; a dynamic one gets its table with its first column.
    pub(crate) fn new(provider: Provider) -> Plan {
        let root = match provider {
            Provider::Person | Provider::RecyclePerson | Provider::Dynamic => Table::Person,
            Provider::ConsentPurpose => Table::ConsentPurpose,
            Provider::EmailAddress => Table::Email,
        };
        Plan {
            provider,
            root,
            joins: Vec::new(),
            columns: Vec::new(),
            with_deleted: provider == Provider::RecyclePerson,
        }
    }

    /// Finds a column, adding the joins that it needs, and returns its place. `searched`: it restricts the result.
    pub(crate) fn column(
        &mut self,
        state: &State,
        name: &str,
        searched: bool,
    ) -> Result<usize, Trouble> {
        let name = name.trim();
        let (slot, source) = match self.provider {
            Provider::Dynamic => self.dynamic(state, name)?,
            Provider::Person | Provider::RecyclePerson => self
                .person(state, 0, name, searched)?
                .ok_or_else(|| unknown(name))?,
            Provider::ConsentPurpose => self.purpose(state, name, searched)?,
            Provider::EmailAddress => Self::address(name)?,
        };
        if searched && matches!(source, Source::Field(field) if field.name == "DeletedDate") {
            self.with_deleted = true;
        }
        self.columns.push(Column {
            name: name.to_owned(),
            slot,
            source,
        });
        Ok(self.columns.len() - 1)
    }

    fn join(&mut self, join: Join) -> Result<usize, Trouble> {
        if let Some(place) = self.joins.iter().position(|other| *other == join) {
            return Ok(place + 1);
        }
        if self.joins.len() >= MAX_JOINS {
            return Err(Trouble::bad("too many joins"));
        }
        self.joins.push(join);
        Ok(self.joins.len())
    }

    pub(super) fn table_of(&self, slot: usize) -> Table {
        slot.checked_sub(1)
            .and_then(|place| self.joins.get(place))
            .map_or(self.root, |join| join.table)
    }

    /// A path such as `consentperson.legalbase_id.key` or `person.(email->person_id).rank` (dynamic provider).
    fn dynamic(&mut self, state: &State, name: &str) -> Result<(usize, Source), Trouble> {
        if name.eq_ignore_ascii_case("getAllRows") {
            return Ok((0, Source::AllRows));
        }
        let steps = steps(name);
        let Some((first, rest)) = steps.split_first() else {
            return Err(unknown(name));
        };
        let Some((last, through)) = rest.split_last() else {
            // A bare column name means the table of the others.
            let field = self
                .root
                .field(first.1)
                .filter(|_| !self.columns.is_empty());
            return field
                .map(|field| (0, Source::Field(field)))
                .ok_or_else(|| unknown(name));
        };
        let table = Table::named(first.1).ok_or_else(|| unknown(name))?;
        if table == Table::ConsentPerson && !state.settings.dynamic_consents {
            return Err(unknown(name));
        }
        if self.columns.is_empty() {
            self.root = table;
        } else if table != self.root {
            return Err(Trouble::bad(format!(
                "{name} does not start on the table {}",
                self.root.name()
            )));
        }
        let mut slot = 0;
        for (sign, step) in through {
            let inner = *sign == ':';
            let parent = self.table_of(slot);
            let (table, how) = if let Some((table, field)) = step.split_once("->") {
                let table = Table::named(table).ok_or_else(|| unknown(name))?;
                let field = table
                    .field(field)
                    .filter(|field| field.target == Some(parent));
                let field = field.ok_or_else(|| unknown(name))?.name;
                (table, How::Back { field, inner })
            } else {
                let field = parent.field(step).ok_or_else(|| unknown(name))?;
                let table = field.target.ok_or_else(|| unknown(name))?;
                let field = field.name;
                (table, How::Forward { field, inner })
            };
            let join = Join {
                parent: slot,
                table,
                how,
            };
            if join.table == Table::ConsentPerson && !state.settings.dynamic_consents {
                return Err(unknown(name));
            }
            slot = self.join(join)?;
        }
        let field = self
            .table_of(slot)
            .field(last.1)
            .ok_or_else(|| unknown(name))?;
        Ok((slot, Source::Field(field)))
    }

    /// A column of the person archives, for the person in `slot`.
    fn person(
        &mut self,
        state: &State,
        slot: usize,
        name: &str,
        searched: bool,
    ) -> Result<Option<(usize, Source)>, Trouble> {
        let lower = name.to_ascii_lowercase();
        let field = |name: &str| Table::Person.field(name);
        let own = match lower.as_str() {
            "personid" => field("person_id").map(Source::Field),
            "contactid" => field("contact_id").map(Source::Field),
            "firstname" => field("firstname").map(Source::Field),
            "lastname" => field("lastname").map(Source::Field),
            "fullname" => Some(Source::FullName),
            "retired" => field("retired").map(Source::Flag),
            "personnomail" => field("nomailing").map(Source::Flag),
            "personregistereddate" => field("registered").map(Source::Day),
            "personregisteredby" => field("registered_associate_id").map(Source::By),
            "personupdateddate" => field("updated").map(Source::Day),
            "personupdatedby" => field("updated_associate_id").map(Source::By),
            "persondeleteddate" => field("DeletedDate").map(Source::Day),
            "ismailingrecipient" => Some(Source::Recipient),
            "subscription" => Some(Source::Subscription),
            _ => None,
        };
        if let Some(source) = own {
            return Ok(Some((slot, source)));
        }
        if let Some(part) = lower.strip_prefix("email/") {
            return self.email(slot, part, searched);
        }
        // One set of columns for each purpose: `hasEmarketingConsent`, `legalBaseEmarketing` and so on.
        let purpose = state.items(ListKind::Purpose).iter().find_map(|item| {
            let key = item.key.to_ascii_lowercase();
            if lower == format!("has{key}consent") {
                Some(Source::HasConsent(item.id))
            } else if lower == format!("withdrawn{key}consent") {
                Some(Source::Withdrawn(item.id))
            } else if lower == format!("legalbase{key}") {
                Some(Source::LegalBase(item.id))
            } else if lower == format!("consentsource{key}") {
                Some(Source::Origin(item.id))
            } else {
                None
            }
        });
        Ok(purpose.map(|source| (slot, source)))
    }

    /// A column of a person's addresses. Only the primary one shows, unless an address column is searched.
    fn email(
        &mut self,
        slot: usize,
        part: &str,
        searched: bool,
    ) -> Result<Option<(usize, Source)>, Trouble> {
        let source = match part {
            "emailaddress" => Table::Email.field("email_address").map(Source::Field),
            "emailid" => Table::Email.field("email_id").map(Source::Field),
            "emaildescription" => Table::Email.field("description").map(Source::Field),
            "emailbouncecount" => Some(Source::Zero),
            _ => None,
        };
        let Some(source) = source else {
            return Ok(None);
        };
        let wanted = |all: bool| Join {
            parent: slot,
            table: Table::Email,
            how: How::Addresses { all },
        };
        let there = self
            .joins
            .iter()
            .position(|join| *join == wanted(true) || *join == wanted(false));
        let place = match there {
            Some(place) => {
                if searched && let Some(join) = self.joins.get_mut(place) {
                    *join = wanted(true);
                }
                place + 1
            }
            None => self.join(wanted(searched))?,
        };
        Ok(Some((place, source)))
    }

    /// A column of the archive that joins purposes, consents and persons.
    fn purpose(
        &mut self,
        state: &State,
        name: &str,
        searched: bool,
    ) -> Result<(usize, Source), Trouble> {
        let lower = name.to_ascii_lowercase();
        let field = |name: &str| Table::ConsentPurpose.field(name);
        let own = match lower.as_str() {
            "consentpurposeid" => field("consentpurpose_id"),
            "key" => field("key"),
            "name" => field("name"),
            "active" => field("active"),
            "rank" => field("rank"),
            _ => None,
        };
        if let Some(field) = own {
            return Ok((0, Source::Field(field)));
        }
        let part = lower
            .strip_prefix("consentperson/")
            .ok_or_else(|| unknown(name))?;
        let consent = self.join(Join {
            parent: 0,
            table: Table::ConsentPerson,
            how: How::Back {
                field: "consentPurpose_id",
                inner: false,
            },
        })?;
        if let Some(part) = part.strip_prefix("person/") {
            let person = self.join(Join {
                parent: consent,
                table: Table::Person,
                how: How::Forward {
                    field: "person_id",
                    inner: false,
                },
            })?;
            return self
                .person(state, person, part, searched)?
                .ok_or_else(|| unknown(name));
        }
        let field = |name: &str| Table::ConsentPerson.field(name);
        let source = match part {
            "consentpersonid" => field("consentperson_id").map(Source::Field),
            "personid" => field("person_id").map(Source::Field),
            "active" => Some(Source::Given),
            "legalbase" => field("legalBase_id").map(|field| Source::ListOf(field, ListKind::Base)),
            "consentsource" => {
                field("consentSource_id").map(|field| Source::ListOf(field, ListKind::Source))
            }
            "comment" => field("comment").map(Source::Field),
            "hascomment" => Some(Source::HasComment),
            "updatedby" => field("updated_associate_id").map(Source::By),
            "updateddate" if state.settings.updated_falls_back => Some(Source::LastChange),
            "updateddate" => field("updated").map(Source::Day),
            _ => None,
        };
        source
            .map(|source| (consent, source))
            .ok_or_else(|| unknown(name))
    }

    /// A column of the archive of addresses.
    fn address(name: &str) -> Result<(usize, Source), Trouble> {
        let field = match name.to_ascii_lowercase().as_str() {
            "emailid" => "email_id",
            "emailaddress" => "email_address",
            "emaildescription" => "description",
            "personid" => "person_id",
            "contactid" => "contact_id",
            _ => return Err(unknown(name)),
        };
        Table::Email
            .field(field)
            .map(|field| (0, Source::Field(field)))
            .ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Trouble {
    Trouble::new(
        400,
        "SoArchiveException",
        format!("column {name:?} does not exist here"),
    )
}

/// The steps of a dynamic column, each with the sign before it.
fn steps(name: &str) -> Vec<(char, &str)> {
    let mut steps = Vec::new();
    let mut sign = '.';
    let mut start = 0;
    let mut inside = false;
    for (at, letter) in name.char_indices() {
        match letter {
            '(' => inside = true,
            ')' => inside = false,
            '.' | ':' if !inside => {
                steps.push((sign, name.get(start..at).unwrap_or_default()));
                sign = letter;
                start = at + 1;
            }
            _ => {}
        }
    }
    steps.push((sign, name.get(start..).unwrap_or_default()));
    steps
        .into_iter()
        .map(|(sign, step)| (sign, step.trim_start_matches('(').trim_end_matches(')')))
        .collect()
}
