//! `kt policy`: what the policies of a configuration make of a text.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::{self, Overrides, ProcessEnvironment};
use crate::policy::{Active, Hit, Phase, Policy, Subject, inspect, try_text};
use crate::protocol::ask::splice;
use crate::protocol::texts::Body;

use super::{Error, output};

/// The largest text that is tried.
const INPUT_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Try the policies on a text, or on the JSON body of a request or an answer
    Test(Test),
}

#[derive(Args, Debug)]
pub(super) struct Test {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A file with the text or the JSON body [default: standard input]
    #[arg(value_name = "FILE")]
    input: Option<PathBuf>,
    /// As what goes to the provider, or as what comes back
    #[arg(long, value_name = "PHASE", default_value = "input", value_parser = ["input", "output"])]
    phase: String,
    /// As a request of this key
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
    /// As a request of this team
    #[arg(long)]
    team: Option<String>,
    /// As a request for this model
    #[arg(long, default_value = "", hide_default_value = true)]
    model: String,
    /// As a request to this endpoint, such as chat/completions
    #[arg(long, default_value = "", hide_default_value = true)]
    endpoint: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) fn run(self) -> Result<(), Error> {
        let Self::Test(test) = self;
        test.run()
    }
}

impl Test {
    fn run(self) -> Result<(), Error> {
        let config = config::load(Some(&self.config), Overrides::default(), &ProcessEnvironment);
        let config = config.map_err(|faults| Error::Failed(faults.to_string()))?;
        let input = self.read()?;
        let active = Active::new(self.concerned(&config.settings.policies), None);
        let is_body = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&input).is_ok();
        let (becomes, inspected) = if is_body {
            let body = Bytes::from(input);
            let of = if self.phase == "output" { Body::Answer } else { Body::Request };
            let inspected = inspect(&active, &body, of);
            let becomes = splice(&body, &inspected.edits);
            (String::from_utf8_lossy(&becomes).into_owned(), inspected)
        } else {
            try_text(&active, &input)
        };
        let verdict = match &inspected.blocked_by {
            Some(_) => "BLOCK",
            None if inspected.hits.iter().any(|hit| hit.action.label() == "redact") => "REDACT",
            None => "PASS",
        };
        let becomes = inspected.blocked_by.is_none().then_some(becomes);
        if self.json {
            let hit = |Hit { policy, action, matches }: &Hit| json!({"name": &**policy, "action": action.label(), "matches": matches});
            let policies: Vec<_> = inspected.hits.iter().map(hit).collect();
            return output::json(&json!({"verdict": verdict, "policies": policies, "becomes": becomes}));
        }
        output::line(verdict)?;
        let row =
            |Hit { policy, action, matches }: &Hit| [policy.to_string(), action.label().into(), matches.to_string()];
        if !inspected.hits.is_empty() {
            output::table(["POLICY", "ACTION", "MATCHES"], &inspected.hits.iter().map(row).collect::<Vec<_>>())?;
        }
        becomes.map_or(Ok(()), |text| output::line(text.trim_end()))
    }

    fn read(&self) -> Result<String, Error> {
        let failed = |error: std::io::Error| Error::Failed(format!("cannot read the text: {error}"));
        let mut text = String::new();
        let read = match &self.input {
            Some(path) => std::fs::File::open(path).map_err(failed)?.take(INPUT_BYTES_MAX).read_to_string(&mut text),
            None => std::io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut text),
        };
        read.map_err(failed)?;
        Ok(text)
    }

    fn concerned(&self, policies: &[Arc<Policy>]) -> Vec<Arc<Policy>> {
        let phase = if self.phase == "output" { Phase::Output } else { Phase::Input };
        let subject =
            Subject { team: self.team.as_deref(), key: &self.key, model: &self.model, endpoint: &self.endpoint };
        let concerns = |policy: &&Arc<Policy>| policy.phase.includes(phase) && policy.scope.includes(&subject);
        policies.iter().filter(concerns).cloned().collect()
    }
}
