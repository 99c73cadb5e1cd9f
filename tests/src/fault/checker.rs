//! What must hold when all is over, whatever happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::evidence::{AdminAnswer, Evidence, Record, Sum};
use super::load::{Entry, number_of, tokens};
use crate::stage::{COMPLETION_PRICE, PROMPT_PRICE};

/// Two seconds are promised; ten times as long is a hang on the busiest machine too.
const ADMIN_PATIENCE: u64 = 20_000_000;

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every request is served, but for those in flight where something was killed, and those by a removed key.
    Served,
    /// A request that was served, or that reached the upstream, has exactly one record; nothing else has any.
    OneRecord,
    /// The record of a served request tells what the upstream counted.
    Counted,
    /// Each call that the upstream saw is an attempt of one record.
    Attempts,
    /// The sums that the ledger keeps are the sums of its records.
    Sums,
    /// A node never goes back to an older revision.
    Revisions,
    /// A removed key is refused in time.
    Revoked,
    /// Nothing is held when nothing is asked.
    AtRest,
    /// The admin API works or says soon that it cannot.
    Admin,
    /// No secret is where it may not be.
    Secrets,
    /// No process ends that was not ended, and none panics.
    Alive,
    /// The logs tell of what happened.
    Said,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}: {}", self.rule, self.what)
    }
}

/// Holds everything against everything.
#[must_use]
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Found::default();
    served(evidence, &mut found);
    one_record(evidence, &mut found);
    counted(evidence, &mut found);
    attempts(evidence, &mut found);
    sums(evidence, &mut found);
    revisions(evidence, &mut found);
    revoked(evidence, &mut found);
    for (gauge, value) in evidence.at_rest.iter().filter(|(_, value)| *value != 0.0) {
        found.add(Rule::AtRest, format!("{gauge} is {value}"));
    }
    for answer in &evidence.admin {
        if let Some(wrong) = wrong_of(answer) {
            found.add(Rule::Admin, format!("{wrong}: {answer:?}"));
        }
    }
    for (rule, found_fault) in
        [(Rule::Secrets, &evidence.leaks), (Rule::Alive, &evidence.crashes), (Rule::Said, &evidence.unsaid)]
    {
        found_fault.iter().for_each(|what| found.add(rule, what.clone()));
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, rule: Rule, what: String) {
        self.0.push(Violation { rule, what });
    }
}

fn served(evidence: &Evidence, found: &mut Found) {
    for entry in evidence.history.iter().filter(|entry| !entry.is_served()) {
        let cut_off = evidence.incidents.iter().any(|incident| {
            let there = incident.node.is_none() || incident.node == entry.node;
            there && entry.sent <= incident.until && entry.ended >= incident.from
        });
        let removed = evidence.revocations.iter().any(|gone| gone.key == entry.key && entry.ended >= gone.asked)
            && entry.status == 401;
        if !cut_off && !removed {
            found.add(Rule::Served, format!("{entry:?}"));
        }
    }
}

/// Records of the requests of the load, by their numbers. A storm of refusals is collapsed to one of them.
fn by_number(evidence: &Evidence) -> BTreeMap<u64, Vec<&Record>> {
    let mut records: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in evidence.records.iter().filter(|record| record.outcome != "refused") {
        if let Some(number) = number_of(&record.request_id) {
            records.entry(number).or_default().push(record);
        }
    }
    records
}

fn one_record(evidence: &Evidence, found: &mut Found) {
    let records = by_number(evidence);
    let asked: BTreeSet<u64> = evidence.history.iter().map(|entry| entry.number).collect();
    for (number, records) in &records {
        if records.len() > 1 {
            found.add(Rule::OneRecord, format!("request {number} has {}: {records:?}", records.len()));
        }
        if !asked.contains(number) {
            found.add(Rule::OneRecord, format!("nobody asked request {number}: {records:?}"));
        }
    }
    for record in evidence.records.iter().filter(|record| number_of(&record.request_id).is_none()) {
        found.add(Rule::OneRecord, format!("a record of nothing that was asked: {record:?}"));
    }
    let reached: BTreeSet<u64> = evidence.calls.iter().copied().collect();
    let due = |entry: &&Entry| entry.is_served() || reached.contains(&entry.number);
    let missing: Vec<&Entry> =
        evidence.history.iter().filter(due).filter(|entry| !records.contains_key(&entry.number)).collect();
    if missing.len() as u64 > evidence.may_be_lost {
        let shown: Vec<_> = missing.iter().take(5).collect();
        let (count, allowed) = (missing.len(), evidence.may_be_lost);
        found.add(Rule::OneRecord, format!("{count} requests have none, {allowed} may: {shown:?}…"));
    }
}

fn counted(evidence: &Evidence, found: &mut Found) {
    let records = by_number(evidence);
    let mut lost = evidence.may_be_lost;
    for entry in evidence.history.iter().filter(|entry| entry.is_served()) {
        let scripted = tokens(entry.number);
        if let (Some(prompt), Some(completion)) = (entry.prompt, entry.completion)
            && (prompt, completion) != scripted
        {
            found.add(Rule::Counted, format!("the client was told of other tokens: {entry:?}"));
        }
        let Some(record) = records.get(&entry.number).and_then(|records| records.first()) else { continue };
        let told = (record.prompt, record.completion, record.cost);
        let right = (i64::try_from(scripted.0).ok(), i64::try_from(scripted.1).ok(), price(scripted));
        let agrees = told == right
            && record.id == entry.call
            && (record.outcome.as_str(), record.status) == ("completed", 200)
            && !record.estimated;
        // Where the end of a call was lost with a file, what is left is that it began.
        if !agrees && record.outcome == "interrupted" && lost > 0 {
            lost -= 1;
        } else if !agrees {
            found.add(Rule::Counted, format!("{entry:?} against {record:?}"));
        }
    }
}

/// Billionths.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]
fn price((prompt, completion): (u64, u64)) -> i64 {
    (prompt as f64 * PROMPT_PRICE * 1000.0 + completion as f64 * COMPLETION_PRICE * 1000.0).round() as i64
}

fn attempts(evidence: &Evidence, found: &mut Found) {
    let mut calls: BTreeMap<u64, i32> = BTreeMap::new();
    for number in &evidence.calls {
        *calls.entry(*number).or_default() += 1;
    }
    let served: HashMap<u64, bool> = evidence.history.iter().map(|entry| (entry.number, entry.is_served())).collect();
    for (number, records) in by_number(evidence) {
        let (record, calls) = (records[0], calls.get(&number).copied().unwrap_or(0));
        // Of a call that its node did not survive, it is only known that it began.
        let unknown = i32::from(record.outcome == "interrupted" && record.status == 0);
        if calls > record.attempts + unknown {
            found.add(Rule::Attempts, format!("{calls} calls upstream: {record:?}"));
        }
        if calls == 0 && served.get(&number) == Some(&true) {
            found.add(Rule::Attempts, format!("served without the upstream: {record:?}"));
        }
    }
}

fn sums(evidence: &Evidence, found: &mut Found) {
    for grain in ["minute", "hour", "day"] {
        let mut right: BTreeMap<&str, Sum> = BTreeMap::new();
        for record in &evidence.records {
            let sum = right.entry(&record.key).or_insert_with(|| Sum {
                grain: grain.to_owned(),
                key: record.key.clone(),
                ..Sum::default()
            });
            sum.requests += record.count;
            sum.prompt += record.prompt.unwrap_or(0);
            sum.completion += record.completion.unwrap_or(0);
            sum.cost += record.cost;
        }
        let kept: BTreeMap<&str, &Sum> =
            evidence.sums.iter().filter(|sum| sum.grain == grain).map(|sum| (sum.key.as_str(), sum)).collect();
        let keys: BTreeSet<&str> = right.keys().chain(kept.keys()).copied().collect();
        for key in keys {
            if right.get(key) != kept.get(key).copied() {
                found.add(Rule::Sums, format!("kept {:?}, the records make {:?}", kept.get(key), right.get(key)));
            }
        }
    }
}

fn revisions(evidence: &Evidence, found: &mut Found) {
    let mut newest: HashMap<(usize, usize), u64> = HashMap::new();
    for sighting in &evidence.revisions {
        let seen = newest.entry((sighting.node, sighting.boot)).or_default();
        if sighting.revision < *seen {
            found.add(Rule::Revisions, format!("after {seen}: {sighting:?}"));
        }
        *seen = sighting.revision.max(*seen);
    }
}

fn revoked(evidence: &Evidence, found: &mut Found) {
    for gone in &evidence.revocations {
        let late = evidence
            .history
            .iter()
            .filter(|entry| entry.key == gone.key && entry.sent > gone.enforced && (200..300).contains(&entry.status));
        for entry in late {
            found.add(Rule::Revoked, format!("{gone:?}: {entry:?}"));
        }
    }
}

fn wrong_of(answer: &AdminAnswer) -> Option<&'static str> {
    match answer {
        AdminAnswer { took, .. } if *took > ADMIN_PATIENCE => Some("too late"),
        AdminAnswer { status: 503, retry_after: false, .. } => Some("it does not say when to try again"),
        // No answer: the control plane is down.
        AdminAnswer { status: 0 | 200 | 503, .. } => None,
        _ => Some("an odd status"),
    }
}
