//! The generated people of an account.

use std::collections::{BTreeMap, BTreeSet};

use consentd_sandbox::emarketeer::AddressState;
use serde_json::Value;

use super::{CONSENTS, Em, MARKETING, STORE};

const PEOPLE: usize = 3_000;

#[tokio::test]
async fn the_shares_are_as_described() {
    let em = Em::start(PEOPLE).await;
    let account = em.account();
    let contacts = account.contact_count();
    assert!(
        contacts <= PEOPLE && contacts > PEOPLE * 85 / 100,
        "{contacts} contacts"
    );
    let known: Vec<AddressState> = account
        .addresses()
        .iter()
        .map(|address| account.address(address))
        .collect();
    let share = |wanted: &dyn Fn(&AddressState) -> bool| {
        known.iter().filter(|address| wanted(address)).count() as f64 / known.len() as f64
    };
    let basis = |address: &AddressState, purpose: &str| {
        address.consents.get(purpose).map(|one| one.basis.clone())
    };
    let marketing = |wanted: Option<&str>| {
        let wanted = wanted.map(str::to_owned);
        share(&|address| basis(address, MARKETING) == wanted)
    };
    let now = account.now();
    #[rustfmt::skip]
    let cases = [
        ("stored", share(&|address| address.consents.contains_key(STORE)), 0.88, 0.96),
        ("marketing by consent", marketing(Some("Consent")), 0.20, 0.45),
        ("marketing by legitimate interest", marketing(Some("Legitimate interest")), 0.15, 0.40),
        ("marketing withdrawn", marketing(Some("Withdrawn")), 0.09, 0.20),
        ("no marketing basis", marketing(None), 0.15, 0.35),
        ("without a contact", share(&|address| address.contacts.is_empty()), 0.01, 0.06),
        ("with two contacts", share(&|address| address.contacts.len() == 2), 0.01, 0.04),
        ("bounced", share(&|address| address.hard_bounced), 0.005, 0.03),
        ("off a subscription", share(&|address| !address.opted_out_of.is_empty()), 0.02, 0.06),
        ("older than a year", share(&|address| address.consents.values().any(|one| (now - one.at).num_days() > 365)), 0.5, 0.95),
    ];
    for (name, share, least, most) in cases {
        assert!(
            (least..=most).contains(&share),
            "{name}: {share} is not in {least}..={most}"
        );
    }
    let mut seconds = BTreeMap::new();
    for address in &known {
        for consent in address.consents.values() {
            assert!(
                consent.at <= now && consent.at.timestamp_subsec_nanos() == 0,
                "{:?}",
                consent.at
            );
            *seconds.entry(consent.at).or_insert(0) += 1;
        }
    }
    assert!(
        seconds.values().any(|count| *count > 20),
        "imports fall into one second"
    );
    let all = em.ok(CONSENTS).await;
    let current: usize = known.iter().map(|address| address.consents.len()).sum();
    assert_eq!(all.as_array().unwrap().len(), current);
}

#[tokio::test]
async fn the_people_are_those_of_the_other_systems() {
    let em = Em::start(500).await;
    let org = em.sandbox.salesforce();
    let theirs: BTreeMap<String, bool> = org
        .contact_ids(usize::MAX)
        .iter()
        .filter_map(|id| {
            let contact = org.contact(id)?;
            Some((contact.address?.trim().to_lowercase(), contact.opted_out))
        })
        .collect();
    let ours = em.account().addresses();
    let shared: Vec<&String> = ours
        .iter()
        .filter(|address| theirs.contains_key(*address))
        .collect();
    assert!(shared.len() > 350, "{} addresses in common", shared.len());
    let out = shared.iter().filter(|address| theirs[**address]);
    let withdrawn: BTreeSet<bool> = out
        .map(|address| em.account().basis(address, MARKETING).as_deref() == Some("Withdrawn"))
        .collect();
    assert_eq!(
        withdrawn,
        BTreeSet::from([false, true]),
        "opt-outs mostly agree, but not all"
    );
}

#[tokio::test]
async fn a_seed_settles_who_there_is() {
    let (one, other) = (Em::start(300).await, Em::start(300).await);
    assert_eq!(one.account().addresses(), other.account().addresses());
    assert_eq!(
        one.account().contact_count(),
        other.account().contact_count()
    );
}

#[tokio::test]
async fn the_pages_of_the_filter_add_up_to_the_whole_account() {
    let em = Em::start(2_000).await;
    let rows = |body: Value| {
        body.as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
    };
    let whole: BTreeSet<String> = rows(em.ok(CONSENTS).await).into_iter().collect();
    let mut paged = Vec::new();
    for offset in (0..).step_by(500) {
        let page = rows(
            em.ok(&format!("{CONSENTS}/filter?limit=500&offset={offset}"))
                .await,
        );
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged.len(), whole.len());
    assert_eq!(paged.into_iter().collect::<BTreeSet<_>>(), whole);
}
