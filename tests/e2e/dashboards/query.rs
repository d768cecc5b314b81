//! Takes queries apart: which series they need, and which labels of them. A reading of PromQL that is as narrow as what we
//! write; whatever it does not understand is a fault, so that no query goes unread.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

use regex_automata::meta::Regex;

/// Labels that whoever scrapes adds.
const ADDED: [&str; 2] = ["job", "instance"];

/// One series of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// What a query asks of one metric.
#[derive(Debug, PartialEq)]
pub struct Selector {
    pub metric: String,
    matchers: Vec<(String, String, String)>,
    /// The labels by which it is told apart or joined.
    pub kept: BTreeSet<String>,
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number,
    Sign(char),
}

use Token::{Number, Sign, Text, Word};

/// Every metric that a query asks for.
pub fn selectors(query: &str) -> Result<Vec<Selector>, String> {
    let mut tokens = tokens(query)?.into_iter().peekable();
    let mut found: Vec<Selector> = Vec::new();
    // What the aggregation in front of each open parenthesis keeps.
    let mut open: Vec<BTreeSet<String>> = vec![BTreeSet::new()];
    let (mut next, mut joined) = (BTreeSet::new(), BTreeSet::new());
    while let Some(token) = tokens.next() {
        match token {
            Word(word) if word == "by" => next = names(&mut tokens)?,
            Word(word) if word == "on" => joined.extend(names(&mut tokens)?),
            Word(word) if ["and", "or", "unless", "offset"].contains(&word.as_str()) => {}
            Word(word) if ["without", "ignoring", "group_left", "group_right", "bool"].contains(&word.as_str()) => {
                return Err(format!("{word} is not understood here"));
            }
            Word(metric) => match tokens.peek() {
                Some(Sign('(')) => {}
                Some(Word(word)) if word == "by" => {}
                following => {
                    let matchers = if following == Some(&Sign('{')) { matchers(&mut tokens)? } else { Vec::new() };
                    found.push(Selector { metric, matchers, kept: open.iter().flatten().cloned().collect() });
                }
            },
            Sign('(') => open.push(std::mem::take(&mut next)),
            Sign(')') if open.len() > 1 => drop(open.pop()),
            Sign('[') => while tokens.next().ok_or("a range has no end")? != Sign(']') {},
            Sign('+' | '-' | '*' | '/' | '>' | '<' | '=' | ',') | Number => {}
            other => return Err(format!("{other:?} is not understood here")),
        }
    }
    if open.len() != 1 || !next.is_empty() {
        return Err("parentheses do not match, or `by` stands behind what it belongs to".into());
    }
    found.iter_mut().for_each(|selector| selector.kept.extend(joined.iter().cloned()));
    Ok(found)
}

/// The series of an exposition in Prometheus' text format.
pub fn series(exposition: &str) -> Vec<Series> {
    let lines = exposition.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        let mut selectors = selectors(line.rsplit_once(' ').unwrap().0).unwrap();
        let Selector { metric, matchers, .. } = selectors.pop().unwrap();
        let labels = matchers.into_iter().map(|(label, _, value)| (label, value)).collect();
        Series { name: metric, labels }
    };
    lines.map(read).collect()
}

impl Selector {
    /// What is missing for this selector to find anything, or to be told apart as it says.
    pub fn fault(&self, series: &[Series]) -> Option<String> {
        let named: Vec<&Series> = series.iter().filter(|series| series.name == self.metric).collect();
        if named.is_empty() {
            return Some(format!("there is no series {}", self.metric));
        }
        let asked = self.matchers.iter().map(|(label, ..)| label).chain(&self.kept);
        let is_unknown = |label: &&String| {
            !ADDED.contains(&label.as_str()) && !named.iter().any(|series| series.labels.contains_key(*label))
        };
        if let Some(label) = asked.clone().find(is_unknown) {
            return Some(format!("{} has no label {label}", self.metric));
        }
        let found = named.iter().any(|series| self.matchers.iter().all(|matcher| holds(matcher, series)));
        (!found).then(|| format!("no series {} fulfils {:?}", self.metric, self.matchers))
    }

    /// Whether what it finds may have this label.
    pub fn tells(&self, label: &str, series: &[Series]) -> bool {
        let mut named = series.iter().filter(|series| series.name == self.metric);
        let is_free = self.kept.iter().all(|kept| ADDED.contains(&kept.as_str()));
        let has = |series: &Series| ADDED.contains(&label) || series.labels.contains_key(label);
        self.kept.contains(label) || is_free && named.any(has)
    }
}

fn holds((label, operator, wanted): &(String, String, String), series: &Series) -> bool {
    let value = series.labels.get(label).map_or("", String::as_str);
    let is_like = || Regex::new(&format!("^(?:{wanted})$")).unwrap().is_match(value);
    match operator.as_str() {
        "=" => value == wanted,
        "!=" => value != wanted,
        "=~" => is_like(),
        _ => !is_like(),
    }
}

/// `(a, b)`
fn names(tokens: &mut impl Iterator<Item = Token>) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    for token in tokens {
        match token {
            Word(name) => drop(names.insert(name)),
            Sign('(' | ',') => {}
            Sign(')') => return Ok(names),
            other => return Err(format!("{other:?} is no label")),
        }
    }
    Err("a list of labels has no end".into())
}

/// `{a="1", b=~"2|3"}`
fn matchers(tokens: &mut impl Iterator<Item = Token>) -> Result<Vec<(String, String, String)>, String> {
    let (mut matchers, mut label, mut operator) = (Vec::new(), String::new(), String::new());
    for token in tokens {
        match token {
            Word(name) => label = name,
            Text(value) => matchers.push((std::mem::take(&mut label), std::mem::take(&mut operator), value)),
            Sign('{' | ',') => {}
            Sign('}') => return Ok(matchers),
            Sign(sign @ ('=' | '!' | '~')) => operator.push(sign),
            other => return Err(format!("{other:?} is no matcher")),
        }
    }
    Err("matchers have no end".into())
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut chars = query.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(&first) = chars.peek() {
        if first.is_whitespace() {
            chars.next();
        } else if first.is_ascii_alphabetic() || first == '_' || first == ':' {
            tokens.push(Word(while_any(&mut chars, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')));
        } else if first.is_ascii_digit() {
            while_any(&mut chars, |c| c.is_ascii_alphanumeric() || c == '.');
            tokens.push(Number);
        } else if first == '"' {
            tokens.push(Text(text(&mut chars)?));
        } else {
            tokens.push(Sign(first));
            chars.next();
        }
    }
    Ok(tokens)
}

fn while_any(chars: &mut Peekable<Chars<'_>>, belongs: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| chars.next_if(|c| belongs(*c))).collect()
}

fn text(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    chars.next();
    let mut text = String::new();
    loop {
        match chars.next().ok_or("a text has no end")? {
            '"' => return Ok(text),
            '\\' => text.push(chars.next().ok_or("a text has no end")?),
            other => text.push(other),
        }
    }
}

#[test]
fn queries_are_taken_apart() {
    let found =
        selectors(r#"topk(5, sum by (a, le) (rate(x_bucket{b=~"1|2", c!=""}[5m]))) * 2 > on (job) y offset 1h"#);
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let matcher = |label: &str, operator: &str, value: &str| (label.to_owned(), operator.to_owned(), value.to_owned());
    let x = Selector {
        metric: "x_bucket".into(),
        matchers: vec![matcher("b", "=~", "1|2"), matcher("c", "!=", "")],
        kept: set(&["a", "job", "le"]),
    };
    assert_eq!(found.unwrap(), [x, Selector { metric: "y".into(), matchers: vec![], kept: set(&["job"]) }]);
    for unclear in ["sum(x", "sum(x) by (a)", "sum without (a) (x)", "x{a=\"1\"", "x[5m", "x ^ 2", "x))"] {
        assert!(selectors(unclear).is_err(), "{unclear}");
    }
}

#[test]
fn what_a_query_lacks_is_told() {
    let series = series("# HELP x X.\nx{a=\"1\",b=\"\"} 2\nx{a=\"3\",b=\"4\"} NaN\nmy_y 1e-05\n");
    let fault = |query: &str| selectors(query).unwrap().iter().find_map(|selector| selector.fault(&series));
    for right in ["x", "my_y", "sum by (a) (x{b!=\"4\"})", "x{a=~\"[2-4]\"} / on (instance) my_y"] {
        assert_eq!(fault(right), None, "{right}");
    }
    for wrong in ["y", "x{c!=\"1\"}", "sum by (c) (x)", "x{a=\"2\"}", "x{a=~\"2|4\"}", "x{a!~\".*\"}", "my_y + my_z"] {
        assert!(fault(wrong).is_some(), "{wrong}");
    }
}
