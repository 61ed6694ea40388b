//! Ascend's side of the exchange by files.

mod extracts;
mod loads;
mod sftp;

use std::fs;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use consentd_sandbox::ascend_files::Exchange;
use consentd_sandbox::{Org, RECORDS, Sandbox};
use serde_json::json;

use crate::client::{fields, sandbox};

pub(crate) const HEADER: &str = "batch_id,row_no,ascend_id,salesforce_id,email,change,email_opt_out,changed_at,changed_by_type,reason\n";

/// A sandbox whose Ascend has three constituents, one of them twice, created long ago.
pub(crate) struct Files {
    pub(crate) sandbox: Sandbox,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let sum = digest(&SHA256, bytes);
    let digits: Vec<String> = sum
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    digits.concat()
}

impl Files {
    pub(crate) async fn start() -> Files {
        let files = Files {
            sandbox: sandbox(0).await,
        };
        for id in ["D1", "D2", "D3", "D3"] {
            files.contact(id);
        }
        files
    }

    pub(crate) fn side(&self) -> &Exchange {
        self.sandbox.ascend_files()
    }

    pub(crate) fn org(&self) -> &Org {
        self.sandbox.ascend()
    }

    /// A new constituent who gets e-mail.
    pub(crate) fn contact(&self, donor: &str) -> String {
        let new = fields(json!({
            "LastName": donor,
            "Email": format!("{donor}@x.example"),
            "ucinn_ascendv2__Donor_ID__c": donor,
            "Email_Permission__c": true,
        }));
        let created = self.org().now() - TimeDelta::days(100);
        self.org()
            .create("Contact", &new, RECORDS, Some(created))
            .unwrap()
    }

    pub(crate) fn opted_out(&self, donor: &str) -> bool {
        let found = self
            .org()
            .contacts_by_address(&format!("{donor}@x.example"));
        found[0].opted_out
    }

    pub(crate) fn edit(&self, donor: &str, out: bool) {
        let found = self
            .org()
            .contacts_by_address(&format!("{donor}@x.example"));
        let change = fields(json!({"HasOptedOutOfEmail": out}));
        self.org().edit(&found[0].id, &change, RECORDS).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.side().folder().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Names in a sub-folder, in order.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Seconds ago, as batches write it.
    pub(crate) fn ago(&self, seconds: i64) -> String {
        stamp(self.org().now() - TimeDelta::seconds(seconds))
    }

    /// Puts a batch there: donor id, opted out, when.
    pub(crate) fn batch(&self, id: &str, rows: &[(&str, bool, String)]) {
        let csv = csv(id, rows);
        self.put(id, &csv, &manifest(id, &csv, rows));
    }

    pub(crate) fn put(&self, id: &str, csv: &str, manifest: &str) {
        let stem = format!("outbound/cu_ecomm_email_optout_{id}");
        fs::write(self.path(&format!("{stem}.csv")), csv).unwrap();
        fs::write(self.path(&format!("{stem}.manifest.json")), manifest).unwrap();
    }

    /// The acknowledgement of a batch without its header, fetched.
    pub(crate) fn fetch_ack(&self, id: &str) -> Option<String> {
        let path = self.path(&format!("inbound/{id}.ack.csv"));
        let text = fs::read_to_string(&path).ok()?;
        fs::remove_file(path).unwrap();
        Some(
            text.strip_prefix("row_no,status,code,message\n")
                .unwrap()
                .to_owned(),
        )
    }
}

pub(crate) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(crate) fn csv(id: &str, rows: &[(&str, bool, String)]) -> String {
    let lines = rows.iter().enumerate().map(|(place, (donor, out, at))| {
        let (change, flag) = if *out {
            ("OPT_OUT", "TRUE")
        } else {
            ("OPT_IN", "FALSE")
        };
        let number = place + 1;
        format!(
            "{id},{number},{donor},0035e000000000{number}AAA,{donor}@x.example,{change},{flag},{at},SPECIALIST,\
             \"asked, by phone\"\n"
        )
    });
    let lines: Vec<String> = lines.collect();
    HEADER.to_owned() + &lines.concat()
}

pub(crate) fn manifest(id: &str, csv: &str, rows: &[(&str, bool, String)]) -> String {
    let out = rows.iter().filter(|row| row.1).count();
    json!({
        "batch_id": id,
        "file": format!("cu_ecomm_email_optout_{id}.csv"),
        "rows": rows.len(),
        "changes": {"OPT_OUT": out, "OPT_IN": rows.len() - out},
        "sha256": hex(csv.as_bytes()),
        "created_at": "2026-05-01T07:00:00Z",
    })
    .to_string()
}
