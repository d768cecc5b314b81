//! Whom a policy concerns.

use crate::domain::Pattern;

/// The requests a policy is for. A list that is not there means all.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub teams: Option<Vec<Pattern>>,
    pub keys: Option<Vec<Pattern>>,
    pub models: Option<Vec<Pattern>>,
    pub endpoints: Option<Vec<Pattern>>,
}

/// The request that is asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    pub team: Option<&'a str>,
    pub key: &'a str,
    /// By the name the caller asks for.
    pub model: &'a str,
    pub endpoint: &'a str,
}

impl Scope {
    pub fn includes(&self, subject: &Subject<'_>) -> bool {
        let Self { teams, keys, models, endpoints } = self;
        let named = |list: &Option<Vec<Pattern>>, name: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|pattern| pattern.matches(name)))
        };
        let is_team = teams.is_none() || subject.team.is_some_and(|team| named(teams, team));
        is_team && named(keys, subject.key) && named(models, subject.model) && named(endpoints, subject.endpoint)
    }
}
