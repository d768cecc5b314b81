//! `kt completions SHELL`: a script that completes the command line.

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Error};

#[derive(Debug, Args)]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Error> {
        // Generated into memory, because the generator panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "kt", &mut script);
        Ok(io::Write::write_all(&mut io::stdout(), &script)?)
    }
}
