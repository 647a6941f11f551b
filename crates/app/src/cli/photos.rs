//! What the commands about photos take.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct PhotosArguments {
    /// Of this practice alone.
    #[arg(long, value_name = "PRACTICE")]
    pub(crate) firm: Option<String>,
    /// At most so many, latest first.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why a patient's data are read.
#[derive(Debug, Args)]
pub(crate) struct WhyArguments {
    /// Why a patient's data are read; it is recorded: clinical-question, quality-review, complaint or fault.
    #[arg(long, value_name = "REASON")]
    pub(crate) because: String,
    /// The number of a ticket, to be recorded with it.
    #[arg(long)]
    pub(crate) ticket: Option<String>,
}

/// A photo of which a patient's data are read.
#[derive(Debug, Args)]
pub(crate) struct PhotoToRead {
    /// The practice.
    #[arg(value_name = "PRACTICE")]
    pub(crate) firm: String,
    /// The photo's document, as `skin-assist photos` lists it.
    #[arg(value_name = "PHOTO")]
    pub(crate) photo: String,
    #[command(flatten)]
    pub(crate) why: WhyArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DraftArguments {
    #[command(flatten)]
    pub(crate) of: PhotoToRead,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PictureArguments {
    #[command(flatten)]
    pub(crate) of: PhotoToRead,
    /// A PNG file that is not there yet.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueueArguments {
    /// At most so many, soonest due first.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}
