//! `--rpm`, `--tpm`, `--concurrency`, `--budget` and their like: how much a key or a team may use.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::domain::{Bounds, Budget, Count, Limits, LimitsChange, LimitsError, Pattern};

use super::Error;

const HEADING: &str = "How much may be used (unlimited where not named; PATTERN=N for some models, `none` to lift)";

/// Limits. Each can be given once for all models and once for each pattern.
#[derive(Debug, Default, Args)]
pub(super) struct Limited {
    /// Requests per minute
    #[arg(long, value_name = "[PATTERN=]N", value_parser = limit, help_heading = HEADING)]
    rpm: Vec<Limit>,
    /// How many of a minute's requests may arrive at once [default: all of them]
    #[arg(long, value_name = "[PATTERN=]N", value_parser = limit, help_heading = HEADING)]
    burst: Vec<Limit>,
    /// Tokens per minute, input and output together
    #[arg(long, value_name = "[PATTERN=]N", value_parser = limit, help_heading = HEADING)]
    tpm: Vec<Limit>,
    /// Input tokens per minute
    #[arg(long, value_name = "[PATTERN=]N", value_parser = limit, help_heading = HEADING)]
    input_tpm: Vec<Limit>,
    /// Output tokens per minute
    #[arg(long, value_name = "[PATTERN=]N", value_parser = limit, help_heading = HEADING)]
    output_tpm: Vec<Limit>,
    /// Requests at the same time
    #[arg(long, value_name = "[PATTERN=]N", value_parser = limit, help_heading = HEADING)]
    concurrency: Vec<Limit>,
    /// Size of a request body, in bytes
    #[arg(long, value_name = "[PATTERN=]N", value_parser = limit, help_heading = HEADING)]
    body_bytes_max: Vec<Limit>,
    /// Output tokens that one request may ask for
    #[arg(long, value_name = "[PATTERN=]N", value_parser = limit, help_heading = HEADING)]
    output_tokens_max: Vec<Limit>,
    /// Money or tokens per hour, day, week, month or total: 50usd/month, 2000000tokens/day@Europe/Berlin,
    /// 9usd/day:soft (reported, not enforced). May be repeated; together they replace all earlier budgets
    #[arg(long, value_name = "[PATTERN=]BUDGET", value_parser = budget, help_heading = HEADING)]
    budget: Vec<WrittenBudget>,
    /// Share of a busy provider (one with `concurrency`): twice the weight gets twice the turns [default: 1]
    #[arg(long, value_name = "N", value_parser = weight, help_heading = HEADING)]
    weight: Option<Weight>,
}

#[derive(Clone, Debug)]
struct Weight(Option<Count>);

#[derive(Clone, Debug)]
struct Limit {
    model: Option<Pattern>,
    /// `None` to lift it.
    count: Option<Count>,
}

#[derive(Clone, Debug)]
struct WrittenBudget {
    model: Option<Pattern>,
    budget: Option<Budget>,
}

impl Limited {
    /// What is to change; `None` if nothing is.
    pub(super) fn change(self) -> Option<LimitsChange> {
        let Self {
            rpm,
            burst,
            tpm,
            input_tpm,
            output_tpm,
            concurrency,
            body_bytes_max,
            output_tokens_max,
            budget,
            weight,
        } = self;
        let mut change = Map::new();
        if let Some(Weight(weight)) = weight {
            change.insert("weight".into(), json!(weight));
        }
        for (name, limits) in [
            ("rpm", rpm),
            ("burst", burst),
            ("tpm", tpm),
            ("input_tpm", input_tpm),
            ("output_tpm", output_tpm),
            ("concurrency", concurrency),
            ("body_bytes_max", body_bytes_max),
            ("output_tokens_max", output_tokens_max),
        ] {
            for Limit { model, count } in limits {
                in_bounds(&mut change, model, |bounds| _ = bounds.insert(name.into(), json!(count)));
            }
        }
        for WrittenBudget { model, budget } in budget {
            in_bounds(&mut change, model, |bounds| match (bounds.entry("budgets").or_insert(Value::Null), budget) {
                (_, None) => {}
                (Value::Array(list), Some(budget)) => list.push(json!(budget)),
                (list, Some(budget)) => *list = json!([budget]),
            });
        }
        (!change.is_empty()).then_some(LimitsChange(change.into()))
    }

    /// The limits of something new.
    pub(super) fn limits(self) -> Result<Limits, Error> {
        let made = self.change().map_or(Ok(Limits::default()), |change| change.applied_to(&Limits::default()));
        made.map_err(|error| Error::Usage(error.to_string()))
    }
}

/// Changes the limits for these models, wherever in a change they stand.
fn in_bounds(change: &mut Map<String, Value>, model: Option<Pattern>, edit: impl FnOnce(&mut Map<String, Value>)) {
    let Some(model) = model else { return edit(change) };
    in_member(change, "models", |models| in_member(models, &model.to_string(), edit));
}

/// Changes a member that is an object, or is made one.
fn in_member(object: &mut Map<String, Value>, name: &str, edit: impl FnOnce(&mut Map<String, Value>)) {
    let mut member = match object.remove(name) {
        Some(Value::Object(member)) => member,
        _ => Map::new(),
    };
    edit(&mut member);
    object.insert(name.into(), member.into());
}

/// The limits as facts to show, each under its option's name.
pub(super) fn facts(limits: &Limits) -> Vec<(&'static str, String)> {
    let mut facts = of_bounds(&limits.all, "");
    facts.extend(limits.weight.map(|weight| ("weight", weight.to_string())));
    for (model, bounds) in &limits.models {
        facts.extend(of_bounds(bounds, &format!("{model}=")));
    }
    facts
}

fn of_bounds(bounds: &Bounds, model: &str) -> Vec<(&'static str, String)> {
    let Bounds { rpm, burst, tpm, input_tpm, output_tpm, concurrency, body_bytes_max, output_tokens_max, budgets } =
        bounds;
    let counts = [
        ("rpm", rpm),
        ("burst", burst),
        ("tpm", tpm),
        ("input-tpm", input_tpm),
        ("output-tpm", output_tpm),
        ("concurrency", concurrency),
        ("body-bytes-max", body_bytes_max),
        ("output-tokens-max", output_tokens_max),
    ];
    let counts = counts.into_iter().filter_map(|(name, count)| Some((name, format!("{model}{}", (*count)?))));
    counts.chain(budgets.iter().map(|budget| ("budget", format!("{model}{budget}")))).collect()
}

fn limit(text: &str) -> Result<Limit, String> {
    let (model, count) = split(text)?;
    let count = match count {
        "none" => None,
        count => {
            let count = count.parse().ok().and_then(|count| Count::new(count).ok());
            Some(count.ok_or_else(|| format!("a whole number from 1 to {}, or none", Count::MAX))?)
        }
    };
    Ok(Limit { model, count })
}

fn weight(text: &str) -> Result<Weight, String> {
    let count =
        || text.parse().ok().filter(|count| *count <= Limits::WEIGHT_MAX).and_then(|count| Count::new(count).ok());
    match text {
        "none" => Ok(Weight(None)),
        _ => count().map(|count| Weight(Some(count))).ok_or_else(|| LimitsError::Weight.to_string() + ", or none"),
    }
}

fn budget(text: &str) -> Result<WrittenBudget, String> {
    let (model, budget) = split(text)?;
    let budget = match budget {
        "none" => None,
        budget => Some(Budget::parse(budget).map_err(|error| error.to_string())?),
    };
    Ok(WrittenBudget { model, budget })
}

/// A pattern for models before a `=`, if there is one.
fn split(text: &str) -> Result<(Option<Pattern>, &str), String> {
    match text.rsplit_once('=') {
        None => Ok((None, text)),
        Some((model, rest)) => Ok((Some(Pattern::parse(model).map_err(|error| error.to_string())?), rest)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limited: Limited,
    }

    fn change(line: &str) -> String {
        let words = std::iter::once("kt").chain(line.split_whitespace());
        let change = Line::try_parse_from(words).map(|line| line.limited.change());
        change
            .map_or_else(|_| "refused".into(), |change| change.map_or_else(String::new, |change| change.0.to_string()))
    }

    #[test]
    fn options_become_a_merge_patch() {
        assert_eq!(change(""), "");
        assert_eq!(
            change("--rpm 60 --rpm gpt-*=5 --tpm none"),
            r#"{"models":{"gpt-*":{"rpm":5}},"rpm":60,"tpm":null}"#
        );
        assert_eq!(
            change("--budget 50usd/month --budget 9tokens/day:soft"),
            r#"{"budgets":[{"hard":true,"per":"month","usd":"50"},{"hard":false,"per":"day","tokens":9}]}"#
        );
        assert_eq!(change("--budget none"), r#"{"budgets":null}"#);
        assert_eq!(change("--weight 4") + &change("--weight none"), r#"{"weight":4}{"weight":null}"#);
        for wrong in
            ["--rpm 0", "--rpm x", "--rpm =5", "--budget 5eur/day", "--concurrency -1", "--weight 0", "--weight 1001"]
        {
            assert_eq!(change(wrong), "refused", "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_can_be_written() {
        let text = r#"{"rpm":60,"budgets":[{"usd":"50","per":"month"}],"models":{"gpt-*":{"tpm":7}}}"#;
        let limits: Limits = serde_json::from_str(text).unwrap();
        let shown: Vec<String> = facts(&limits).into_iter().map(|(name, value)| format!("--{name} {value}")).collect();
        assert_eq!(shown, ["--rpm 60", "--budget 50usd/month", "--tpm gpt-*=7"]);
    }
}
