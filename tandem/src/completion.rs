//! `tandem completion`: what a shell needs to complete this command line.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Prints what a shell needs to complete commands and options.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tandem completion bash > /etc/bash_completion.d/tandem
  tandem completion zsh > /usr/local/share/zsh/site-functions/_tandem
  tandem completion fish > ~/.config/fish/completions/tandem.fish")]
pub(crate) struct CompletionArgs {
    /// Whose
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the command on the whole command line.
pub(crate) fn completion(args: &CompletionArgs, mut all: Command) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut all, "tandem", &mut script);
    output::bytes(&script).map(|()| Exit::Done)
}
