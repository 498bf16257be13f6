//! What a lying source lies about, and which of that is malice.

use std::time::Duration;

use snapferry::transport::fault::ErrorCode;

/// What it lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nothing: an honest source.
    Nothing,
    /// A bit of every chunk.
    Chunks,
    /// Every two neighbouring whole chunks of a file, each under the other's index.
    SwappedChunks,
    /// Every chunk of one file is one of another file.
    OtherFile,
    /// The last chunk of every answer lacks its last byte.
    ShortChunk,
    /// The last chunk of every answer has one byte more.
    LongChunk,
    /// Answers end one chunk too early.
    ShortFile,
    /// Answers go on behind their last chunk.
    LongFile,
    /// Every large chunk is a gibibyte of zeros, compressed, whatever its header says.
    Bomb,
    /// A bit of every list of a chunk tree.
    Tree,
    /// Its lists of chunk trees never come.
    SilentTree,
    /// All values of a chunk tree come, and then no end.
    TreeNeverEnds,
    /// Nothing, but once it has attested nothing comes any more, on a connection that lives.
    SilentOnceAttested,
    /// A bit of a root in every manifest.
    Manifest,
    /// Its catalog doesn't ascend.
    Catalog,
    /// The snapshot hash of every line of its catalog.
    SnapshotHash,
    /// Nothing, but the first requests for a manifest and for a chunk tree come too soon for it.
    BusyAtFirst,
    /// Nothing, but it restarts on the first request for a chunk tree.
    RestartsAtFirst,
    /// Nothing, but it refuses all requests for chunk trees so.
    TreesRefused(ErrorCode),
    /// Nothing, but it refuses all requests for chunks so.
    ChunksRefused(ErrorCode),
    /// Nothing, but it is too busy for the first requests for chunks.
    ChunksBusyAtFirst,
    /// Nothing, but from the first request for chunks on it is too busy for them so long.
    ChunksBusyFor(Duration),
    /// Nothing, but each run of chunks is asked so often by leases that have ended meanwhile.
    LeasesEndAtFirst(usize),
    /// Nothing, but it attests nothing.
    AttestsNothing,
    /// It attests another snapshot than its catalog names.
    AttestsOther,
    /// The signature of its attestation is wrong.
    AttestsFalsely,
    /// Its attestation was made for somebody else.
    AttestsAgain,
    /// It attests its snapshot, and another one of the same block.
    AttestsTwo,
    /// It attests what the test gives it, and may relay what others signed.
    AttestsAsTold,
    /// Its catalog has an entry of another channel, too.
    OtherChannel,
    /// It has a manifest of its own under the right metadata, which proves every chunk of a file that it has altered. It attests
    /// nothing. (Only for files of one chunk.)
    OwnManifest,
    /// Nothing, but it is always too busy to give a manifest.
    ManifestNever,
    /// Nothing, but a byte of a chunk comes every five seconds.
    Trickles,
    /// Nothing, but no chunk ever comes, on a connection that lives.
    SilentChunks,
    /// Every request for chunks ends at once, as if it were done.
    EmptyAnswers,
    /// Chunks come that nobody asked for, under their right index.
    UnaskedChunks,
    /// The first answers are right, then it sends a bit that is wrong.
    GoodThenBad,
    /// The first answers are right, then a byte of a chunk comes every five seconds.
    GoodThenTrickles,
    /// Its catalog has a block that it lacks, the newest of all.
    BlockItLacks,
    /// It tells of a newer catalog all the time, and gives an older one in which there is nothing.
    OlderCatalog,
    /// Every chunk has no bytes.
    EmptyChunks,
    /// Lists of chunk trees have no values.
    EmptyTree,
    /// Lists of chunk trees lack their last value.
    ShortTree,
    /// Lists of chunk trees have one value more.
    LongTree,
    /// The chunk tree of a file is that of another file.
    OtherTree,
    /// The manifest lacks its last file.
    ShortManifest,
    /// The manifest has its last file twice.
    LongManifest,
    /// The manifest names groups of another size.
    OtherGroups,
    /// The manifest that it names and attests has this name (of 10 bytes) in place of `txids.data`.
    FileNamed(&'static str),
    /// Its catalog has the snapshot, hasn't, has it again, each time it is asked; of each chunk a byte comes.
    FlipsCatalog,
}

impl Lie {
    /// All that a seed may draw.
    pub const ALL: [Self; 46] = [
        Self::Nothing,
        Self::Chunks,
        Self::SwappedChunks,
        Self::OtherFile,
        Self::ShortChunk,
        Self::LongChunk,
        Self::ShortFile,
        Self::LongFile,
        Self::Bomb,
        Self::Tree,
        Self::SilentTree,
        Self::Manifest,
        Self::Catalog,
        Self::SnapshotHash,
        Self::BusyAtFirst,
        Self::RestartsAtFirst,
        Self::TreesRefused(ErrorCode::Internal),
        Self::ChunksRefused(ErrorCode::Busy),
        Self::ChunksRefused(ErrorCode::ChunkUnavailable),
        Self::ChunksRefused(ErrorCode::ChunkCorruptAtSource),
        Self::ChunksRefused(ErrorCode::Gone),
        Self::ChunksBusyAtFirst,
        Self::AttestsNothing,
        Self::AttestsOther,
        Self::AttestsFalsely,
        Self::AttestsAgain,
        Self::ManifestNever,
        Self::Trickles,
        Self::SilentChunks,
        Self::EmptyAnswers,
        Self::UnaskedChunks,
        Self::GoodThenBad,
        Self::GoodThenTrickles,
        Self::BlockItLacks,
        Self::OlderCatalog,
        Self::EmptyChunks,
        Self::EmptyTree,
        Self::ShortTree,
        Self::LongTree,
        Self::OtherTree,
        Self::TreeNeverEnds,
        Self::ShortManifest,
        Self::LongManifest,
        Self::OtherGroups,
        Self::SilentOnceAttested,
        Self::FlipsCatalog,
    ];

    /// Whether an honest service would never do it. Slow, silent, busy and rotten ones are only bad.
    pub const fn is_malice(self) -> bool {
        !matches!(
            self,
            Self::Nothing
                | Self::SilentTree
                | Self::SilentOnceAttested
                | Self::TreeNeverEnds
                | Self::BusyAtFirst
                | Self::RestartsAtFirst
                | Self::TreesRefused(_)
                | Self::ChunksRefused(_)
                | Self::ChunksBusyAtFirst
                | Self::ChunksBusyFor(_)
                | Self::LeasesEndAtFirst(_)
                | Self::AttestsNothing
                | Self::ManifestNever
                | Self::Trickles
                | Self::SilentChunks
                | Self::GoodThenTrickles
                | Self::BlockItLacks
                | Self::OlderCatalog
                | Self::FlipsCatalog
        )
    }
}
