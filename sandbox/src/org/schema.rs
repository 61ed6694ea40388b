//! The objects of each org and their columns.
//!
//! Every table starts with the seven system columns in one order, so that the save path finds them by position. Where
//! the real object lacks one of them (field history has no `SystemModstamp`), it is kept but not exposed.

use serde_json::{Value, json};

use crate::System;
use crate::soql::FieldKind;

/// Position of `Id`.
pub(crate) const ID: usize = 0;
/// Position of `IsDeleted`.
pub(crate) const IS_DELETED: usize = 1;
/// Position of `CreatedDate`.
pub(crate) const CREATED: usize = 2;
/// Position of `CreatedById`.
pub(crate) const CREATED_BY: usize = 3;
/// Position of `LastModifiedDate`.
pub(crate) const MODIFIED: usize = 4;
/// Position of `LastModifiedById`.
pub(crate) const MODIFIED_BY: usize = 5;
/// Position of `SystemModstamp`.
pub(crate) const STAMP: usize = 6;

pub(crate) const CONTACT: &str = "Contact";
pub(crate) const CONTACT_HISTORY: &str = "ContactHistory";
pub(crate) const USER: &str = "User";
pub(crate) const ACCOUNT: &str = "Account";
pub(crate) const INDICATOR: &str = "ucinn_ascendv2__Service_Indicator__c";
pub(crate) const INDICATOR_VALUE: &str = "ucinn_ascendv2__Service_Indicator_Value__c";
pub(crate) const EMAIL: &str = "ucinn_ascendv2__Email__c";
pub(crate) const OPT_OUT: &str = "HasOptedOutOfEmail";
pub(crate) const DONOR_ID: &str = "ucinn_ascendv2__Donor_ID__c";
pub(crate) const ASCEND_ID: &str = "Ascend_ID__c";
pub(crate) const PERMISSION: &str = "Email_Permission__c";
/// The preference check boxes of the Salesforce org.
pub(crate) const PREFERENCES: [&str; 4] = [
    "Email_Alumni_News__c",
    "Email_Events__c",
    "Email_Giving__c",
    "Email_Research__c",
];

/// Type of a column as describe names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Id,
    /// Object pointed at, relationship name.
    Reference(&'static str, &'static str),
    Boolean,
    /// Longest text.
    Text(u32),
    Email,
    Picklist,
    DateTime,
    Date,
    Any,
}

/// One column.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) exposed: bool,
    pub(crate) createable: bool,
    pub(crate) updateable: bool,
    pub(crate) filterable: bool,
    pub(crate) nillable: bool,
    pub(crate) calculated: bool,
    pub(crate) external_id: bool,
}

impl Field {
    fn new(name: &'static str, label: &'static str, kind: Kind) -> Field {
        Field {
            name,
            label,
            kind,
            exposed: true,
            createable: true,
            updateable: true,
            filterable: true,
            nillable: kind != Kind::Boolean,
            calculated: false,
            external_id: false,
        }
    }

    fn system(mut self) -> Field {
        self.createable = false;
        self.updateable = false;
        self.nillable = false;
        self
    }

    fn required(mut self) -> Field {
        self.nillable = false;
        self
    }

    fn external(mut self) -> Field {
        self.external_id = true;
        self
    }

    fn formula(mut self) -> Field {
        self.calculated = true;
        self.createable = false;
        self.updateable = false;
        self
    }

    fn read_only(mut self) -> Field {
        self.createable = false;
        self.updateable = false;
        self
    }

    fn unfilterable(mut self) -> Field {
        self.filterable = false;
        self
    }

    fn hidden_if(mut self, hidden: bool) -> Field {
        self.exposed = !hidden;
        self
    }

    pub(crate) fn custom(&self) -> bool {
        self.name.ends_with("__c")
    }

    /// How the query language treats the column.
    pub(crate) fn soql_kind(&self) -> FieldKind {
        match self.kind {
            Kind::Id => FieldKind::Id,
            Kind::Reference(..) => FieldKind::Reference,
            Kind::Boolean => FieldKind::Boolean,
            Kind::Text(_) | Kind::Email | Kind::Picklist => FieldKind::Text,
            Kind::DateTime => FieldKind::DateTime,
            Kind::Date => FieldKind::Date,
            Kind::Any => FieldKind::Any,
        }
    }

    /// The column's entry in a describe answer.
    pub(crate) fn describe(&self, updateable: bool) -> Value {
        let (kind, length) = match self.kind {
            Kind::Id => ("id", 18),
            Kind::Reference(..) => ("reference", 18),
            Kind::Boolean => ("boolean", 0),
            Kind::Text(length) => ("string", length),
            Kind::Email => ("email", 80),
            Kind::Picklist => ("picklist", 255),
            Kind::DateTime => ("datetime", 0),
            Kind::Date => ("date", 0),
            Kind::Any => ("anyType", 0),
        };
        let (target, relationship) = match self.kind {
            Kind::Reference(target, relationship) => (json!([target]), json!(relationship)),
            _ => (json!([]), Value::Null),
        };
        json!({
            "name": self.name,
            "type": kind,
            "label": self.label,
            "length": length,
            "byteLength": length * 3,
            "nillable": self.nillable,
            "defaultedOnCreate": !self.nillable && !self.createable || self.kind == Kind::Boolean,
            "createable": self.createable,
            "updateable": self.updateable && updateable,
            "filterable": self.filterable,
            "sortable": self.filterable,
            "groupable": self.filterable,
            "calculated": self.calculated,
            "calculatedFormula": Value::Null,
            "compoundFieldName": Value::Null,
            "externalId": self.external_id,
            "idLookup": self.external_id || matches!(self.kind, Kind::Id | Kind::Email),
            "unique": self.external_id,
            "caseSensitive": false,
            "picklistValues": [],
            "referenceTo": target,
            "relationshipName": relationship,
            "custom": self.custom(),
        })
    }
}

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) prefix: &'static str,
    pub(crate) writable: bool,
    pub(crate) replicateable: bool,
    pub(crate) fields: Vec<Field>,
}

impl Object {
    /// Position of a column, by its name in any case.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.fields
            .iter()
            .position(|field| field.name == name)
            .or_else(|| {
                self.fields
                    .iter()
                    .position(|field| field.name.eq_ignore_ascii_case(name))
            })
    }
}

fn object(
    name: &'static str,
    label: &'static str,
    prefix: &'static str,
    own: Vec<Field>,
) -> Object {
    let history = name == CONTACT_HISTORY;
    let user = name == USER;
    let mut fields = vec![
        Field::new("Id", "Record ID", Kind::Id).system(),
        Field::new("IsDeleted", "Deleted", Kind::Boolean)
            .system()
            .hidden_if(user),
        Field::new("CreatedDate", "Created Date", Kind::DateTime).system(),
        Field::new(
            "CreatedById",
            "Created By ID",
            Kind::Reference(USER, "CreatedBy"),
        )
        .system(),
        Field::new("LastModifiedDate", "Last Modified Date", Kind::DateTime)
            .system()
            .hidden_if(history),
        Field::new(
            "LastModifiedById",
            "Last Modified By ID",
            Kind::Reference(USER, "LastModifiedBy"),
        )
        .system()
        .hidden_if(history),
        Field::new("SystemModstamp", "System Modstamp", Kind::DateTime)
            .system()
            .hidden_if(history),
    ];
    fields.extend(own);
    let writable = !history && !user;
    Object {
        name,
        label,
        prefix,
        writable,
        replicateable: writable,
        fields,
    }
}

fn text(name: &'static str, label: &'static str) -> Field {
    Field::new(name, label, Kind::Text(255))
}

fn flag(name: &'static str, label: &'static str) -> Field {
    Field::new(name, label, Kind::Boolean)
}

/// The objects of one org.
pub(crate) fn objects(system: System) -> Vec<Object> {
    let mut contact = vec![
        Field::new(
            "MasterRecordId",
            "Master Record ID",
            Kind::Reference(CONTACT, "MasterRecord"),
        )
        .read_only(),
        Field::new(
            "AccountId",
            "Account ID",
            Kind::Reference(ACCOUNT, "Account"),
        ),
        Field::new("LastName", "Last Name", Kind::Text(80)).required(),
        Field::new("FirstName", "First Name", Kind::Text(40)),
        Field::new("Email", "Email", Kind::Email),
        flag(OPT_OUT, "Email Opt Out"),
        flag("IsEmailBounced", "Is Email Bounced").read_only(),
    ];
    match system {
        System::Salesforce => {
            contact.push(flag(PREFERENCES[0], "Email: Alumni News"));
            contact.push(flag(PREFERENCES[1], "Email: Events"));
            contact.push(flag(PREFERENCES[2], "Email: Giving"));
            contact.push(flag(PREFERENCES[3], "Email: Research"));
            contact.push(Field::new(ASCEND_ID, "Ascend ID", Kind::Text(20)).external());
        }
        System::Ascend => {
            contact.push(Field::new(DONOR_ID, "Donor ID", Kind::Text(20)).external());
            contact.push(flag(PERMISSION, "Email Permission"));
        }
    }
    let mut objects = vec![
        object(CONTACT, "Contact", "003", contact),
        object(
            CONTACT_HISTORY,
            "Contact History",
            "017",
            vec![
                Field::new(
                    "ContactId",
                    "Contact ID",
                    Kind::Reference(CONTACT, "Contact"),
                )
                .read_only(),
                Field::new("Field", "Changed Field", Kind::Picklist).read_only(),
                Field::new("DataType", "Datatype", Kind::Picklist).read_only(),
                Field::new("OldValue", "Old Value", Kind::Any)
                    .read_only()
                    .unfilterable(),
                Field::new("NewValue", "New Value", Kind::Any)
                    .read_only()
                    .unfilterable(),
            ],
        ),
        object(
            USER,
            "User",
            "005",
            vec![
                Field::new("Username", "Username", Kind::Text(80)).read_only(),
                Field::new("Name", "Full Name", Kind::Text(121)).read_only(),
                flag("IsActive", "Active").read_only(),
            ],
        ),
        object(
            ACCOUNT,
            "Account",
            "001",
            vec![text("Name", "Account Name").required()],
        ),
    ];
    if system == System::Ascend {
        objects.push(object(
            INDICATOR_VALUE,
            "Service Indicator Value",
            "a0V",
            vec![
                text("Name", "Service Indicator Value Name").required(),
                Field::new("ucinn_ascendv2__Code__c", "Code", Kind::Text(20)),
                text(
                    "ucinn_ascendv2__Service_Indicator_Description__c",
                    "Description",
                ),
            ],
        ));
        objects.push(object(
            INDICATOR,
            "Service Indicator",
            "a0S",
            vec![
                Field::new(
                    "ucinn_ascendv2__Contact__c",
                    "Contact",
                    Kind::Reference(CONTACT, "ucinn_ascendv2__Contact__r"),
                ),
                Field::new(
                    "ucinn_ascendv2__Service_Indicator_Value__c",
                    "Service Indicator Value",
                    Kind::Reference(
                        INDICATOR_VALUE,
                        "ucinn_ascendv2__Service_Indicator_Value__r",
                    ),
                ),
                Field::new("ucinn_ascendv2__Code_Formula__c", "Code", Kind::Text(20)).formula(),
                flag("ucinn_ascendv2__Is_Active__c", "Is Active"),
                Field::new("ucinn_ascendv2__Start_Date__c", "Start Date", Kind::Date),
                Field::new("ucinn_ascendv2__End_Date__c", "End Date", Kind::Date),
                text("ucinn_ascendv2__Comments__c", "Comments"),
            ],
        ));
        objects.push(object(
            EMAIL,
            "Email",
            "a0E",
            vec![
                Field::new(
                    "ucinn_ascendv2__Contact__c",
                    "Contact",
                    Kind::Reference(CONTACT, "ucinn_ascendv2__Contact__r"),
                ),
                Field::new(
                    "ucinn_ascendv2__Email_Address__c",
                    "Email Address",
                    Kind::Email,
                ),
                text("ucinn_ascendv2__Type__c", "Type"),
                text("ucinn_ascendv2__Status__c", "Status"),
                flag("ucinn_ascendv2__Is_Preferred__c", "Is Preferred"),
                text("ucinn_ascendv2__Data_Source__c", "Data Source"),
                Field::new("ucinn_ascendv2__Start_Date__c", "Start Date", Kind::Date),
                Field::new("ucinn_ascendv2__End_Date__c", "End Date", Kind::Date),
            ],
        ));
    }
    objects
}
