//! `kt explain`: which rule would admit or refuse a call.

use std::net::IpAddr;

use clap::Args;

use crate::catalog::LimitDocument;
use crate::control::admin::v1::explain::Explanation;

use super::client::{Gateway, with_query};
use super::{Error, output, permissions};

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    gateway: Gateway,
    /// The access key, by id or name
    #[arg(long, value_name = "ID|NAME")]
    key: String,
    /// The model, by the name a client would use
    #[arg(long)]
    model: String,
    /// The endpoint, by its name in events [default: chat/completions]
    #[arg(long)]
    endpoint: Option<String>,
    /// Where the caller would connect from
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The most output tokens the request would ask for [default: what the key usually gets]
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        let address = self.address.map(|address| address.to_string());
        let query = [
            ("key", Some(self.key)),
            ("model", Some(self.model)),
            ("endpoint", self.endpoint),
            ("address", address),
            ("tokens", self.tokens.map(|tokens| tokens.to_string())),
        ];
        let explained: Explanation = client.get(&with_query("/v1/explain", query)).await?;
        if self.json { output::json(&explained) } else { print(&explained) }
    }
}

fn print(explained: &Explanation) -> Result<(), Error> {
    let verdict = match &explained.code {
        None => "admitted".into(),
        Some(code) => format!("refused with {code}"),
    };
    output::line(&format!("{verdict}: {}", explained.detail))?;
    if let Some(provider) = &explained.provider {
        output::line(&format!("provider: {provider}"))?;
    }
    let team = explained.team.as_ref().map_or_else(|| "team".to_owned(), |team| format!("team {team}"));
    for (scope, lists) in [
        ("key".to_owned(), &explained.key_permissions),
        (team, &explained.team_permissions),
        ("organization".to_owned(), &explained.organization_permissions),
    ] {
        let lists = permissions::facts(lists).into_iter().map(|(list, entries)| format!("{list} {entries}"));
        let lists = lists.collect::<Vec<_>>().join("; ");
        output::line(&format!("{scope}: {}", if lists.is_empty() { "unrestricted" } else { &lists }))?;
    }
    if explained.limits.is_empty() {
        return output::line("limits: none");
    }
    limits(&explained.limits)
}

fn limits(limits: &[LimitDocument]) -> Result<(), Error> {
    let rows = limits.iter().map(|limit| {
        let model = limit.model.as_ref().map(|model| format!(" {model}")).unwrap_or_default();
        let set_by = match limit.scope.as_str() {
            "key" => "key".to_owned(),
            scope => format!("{scope} {}", limit.name),
        };
        let figure = |figure: f64| match limit.unit.as_str() {
            "usd" => format!("${figure:.6}"),
            _ => format!("{figure}"),
        };
        let resets = limit.resets_at.filter(|_| limit.resets_in_seconds.is_some_and(|seconds| seconds > 0.0));
        [
            format!("{}{model}", limit.limit),
            set_by,
            figure(limit.max),
            figure(limit.remaining),
            figure(limit.reserved),
            resets.map_or_else(|| output::NOTHING.into(), |at| output::time(at, false)),
        ]
    });
    output::line("")?;
    let headings = ["LIMIT", "SET BY", "MAX", "LEFT", "RESERVED", "RESETS (UTC)"];
    output::table(headings, &rows.collect::<Vec<_>>())
}
