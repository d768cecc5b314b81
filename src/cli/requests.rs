//! Whose requests: options that events and usage share.

use clap::Args;

#[derive(Clone, Debug, Args)]
pub(super) struct Requests {
    /// Only requests with this key
    #[arg(long, value_name = "ID|NAME")]
    pub(super) key: Option<String>,
    /// Only requests of this team
    #[arg(long)]
    pub(super) team: Option<String>,
    /// Only requests to this provider
    #[arg(long)]
    pub(super) provider: Option<String>,
}

impl Requests {
    pub(super) fn query(&self) -> [(&'static str, Option<String>); 3] {
        [("key", self.key.clone()), ("team", self.team.clone()), ("provider", self.provider.clone())]
    }
}
