//! The admin token that the first start makes.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use log::info;

use crate::domain::KeyText;

/// Where it is left without a terminal.
const FILE: &str = "first-admin-token";

/// Hands the token to whoever started the gateway: on their terminal, once. Without a terminal, to a file
/// that only the gateway's own user finds, because a log is read by many.
pub(super) fn hand_over(token: &KeyText, data_dir: &Path) -> io::Result<()> {
    let mut terminal = io::stdout();
    if terminal.is_terminal() {
        return writeln!(terminal, "The first admin token, shown this once: {}", token.expose());
    }
    let path = data_dir.join(FILE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    writeln!(file, "{}", token.expose())?;
    info!("the first admin token is in {}; keep it elsewhere and remove the file", path.display());
    Ok(())
}
