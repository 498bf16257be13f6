//! Checks the files of a snapshot against each other and against the metadata, once each was found right by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BlockNumber, ContentError, FileSummary, NamespaceFault, NamespaceRow, SignableMetadata, SnapshotFile, StateDbType,
    collections::ConfiguredCollections,
    content_check::{StateSummary, Summary},
    protobuf::bytes_field,
    records::split_private_namespace,
};

/// A snapshot's content in numbers; a value exists only after every check was passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentSummary {
    /// Serialized common.ConfigEnvelope of the channel at the snapshot's block, at most 16 MiB. That it is a message with a
    /// configuration in it is certain, no more.
    pub channel_config: Vec<u8>,
    /// Namespaces of the public state, in the file's order.
    pub public_namespaces: Vec<NamespaceRow>,
    /// Private namespaces (`<namespace>$$h<collection>`), in the file's order.
    pub private_namespaces: Vec<NamespaceRow>,
    /// Number of transaction ids.
    pub transaction_ids: u64,
    /// Number of entries of the collection-configuration history.
    pub config_history_entries: u64,
}

/// Checks counts, order, namespaces, blocks, the channel's configuration and that every collection has one.
///
/// `summaries` holds exactly the listed files.
///
/// # Errors
/// The first thing that doesn't fit together.
pub fn cross_check(
    signable: &SignableMetadata,
    summaries: &BTreeMap<SnapshotFile, FileSummary>,
) -> Result<ContentSummary, ContentError> {
    use SnapshotFile as F;
    if let Some(&file) = F::ALL.iter().find(|file| signable.files().contains_key(file) != summaries.contains_key(file))
    {
        return Err(ContentError::Unchecked { file });
    }
    let check = CrossCheck { last: signable.id().block_number, db_type: signable.state_db_type(), summaries };
    let (public, public_namespaces) = check.state(F::PublicStateData, F::PublicStateMetadata)?;
    let private_namespaces = match summaries.contains_key(&F::PrivateStateHashesData) {
        true => check.state(F::PrivateStateHashesData, F::PrivateStateHashesMetadata)?.1,
        false => &[],
    };
    let config_history_entries = match summaries.contains_key(&F::ConfigHistoryData) {
        true => check.items(F::ConfigHistoryData, F::ConfigHistoryMetadata)?,
        false => 0,
    };
    check.collections(private_namespaces)?;
    Ok(ContentSummary {
        channel_config: channel_config(public, public_namespaces)?.to_vec(),
        public_namespaces: public_namespaces.to_vec(),
        private_namespaces: private_namespaces.to_vec(),
        transaction_ids: check.items(F::TxIdsData, F::TxIdsMetadata)?,
        config_history_entries,
    })
}

struct CrossCheck<'a> {
    last: BlockNumber,
    db_type: StateDbType,
    summaries: &'a BTreeMap<SnapshotFile, FileSummary>,
}

impl<'a> CrossCheck<'a> {
    fn state(
        &self,
        data: SnapshotFile,
        metadata: SnapshotFile,
    ) -> Result<(&'a StateSummary, &'a [NamespaceRow]), ContentError> {
        let (Some(FileSummary(Summary::State(state))), Some(FileSummary(Summary::Rows(rows)))) =
            (self.summaries.get(&data), self.summaries.get(&metadata))
        else {
            return Err(ContentError::Unchecked { file: data });
        };
        let stated = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.records));
        counted(data, state.records, stated)?;
        self.bounded(data, state.block_number_max)?;
        self.namespaces(metadata, rows)?;
        // Where the order of keys drops, a namespace must start.
        let starts: BTreeSet<u64> = rows
            .iter()
            .scan(0_u64, |end, row| {
                let start = *end;
                *end = end.saturating_add(row.records);
                Some(start)
            })
            .collect();
        match state.drops.iter().find(|record| !starts.contains(record)) {
            Some(&item) => Err(ContentError::Item { file: data, item, fault: super::ItemFault::Order }),
            None => Ok((state, rows)),
        }
    }

    fn items(&self, data: SnapshotFile, metadata: SnapshotFile) -> Result<u64, ContentError> {
        let (
            Some(FileSummary(Summary::Items { items, block_number_max, .. })),
            Some(FileSummary(Summary::Count(stated))),
        ) = (self.summaries.get(&data), self.summaries.get(&metadata))
        else {
            return Err(ContentError::Unchecked { file: data });
        };
        counted(data, *items, *stated)?;
        self.bounded(data, *block_number_max)?;
        Ok(*items)
    }

    fn collections(&self, rows: &[NamespaceRow]) -> Result<(), ContentError> {
        let none = ConfiguredCollections::default();
        let known = match self.summaries.get(&SnapshotFile::ConfigHistoryData) {
            Some(FileSummary(Summary::Items { collections, .. })) => collections,
            _ => &none,
        };
        let mut named = rows.iter().filter_map(|row| split_private_namespace(&row.namespace));
        match named.find(|(chaincode, collection)| !known.knows(chaincode, collection)) {
            Some((chaincode, collection)) => {
                let short = |name: &str| name.chars().take(100).collect();
                Err(ContentError::NoCollectionConfig { chaincode: short(chaincode), collection: short(collection) })
            }
            None => Ok(()),
        }
    }

    fn bounded(&self, file: SnapshotFile, block_number: BlockNumber) -> Result<(), ContentError> {
        let last = self.last;
        if block_number > last { Err(ContentError::FutureBlock { file, block_number, last }) } else { Ok(()) }
    }

    fn namespaces(&self, file: SnapshotFile, rows: &[NamespaceRow]) -> Result<(), ContentError> {
        let mut seen = BTreeSet::new();
        let mut last: Option<&str> = None;
        for row in rows {
            let name = row.namespace.as_str();
            let right_kind = match file {
                SnapshotFile::PublicStateMetadata => !name.contains("$$h") && !name.contains("$$p"),
                _ => split_private_namespace(name).is_some(),
            };
            let fault = if name.contains('\0') {
                NamespaceFault::Nul
            } else if !right_kind {
                NamespaceFault::Kind
            } else if !seen.insert(name) {
                NamespaceFault::Twice
            } else if self.db_type == StateDbType::SimpleKeyValueDb && last.is_some_and(|last| name < last) {
                // Without NULs inside, the order of `namespace 00` is that of the names.
                NamespaceFault::Order
            } else {
                last = Some(name);
                continue;
            };
            return Err(ContentError::Namespace { file, namespace: name.chars().take(100).collect(), fault });
        }
        Ok(())
    }
}

fn counted(file: SnapshotFile, found: u64, stated: u64) -> Result<(), ContentError> {
    if found == stated { Ok(()) } else { Err(ContentError::Count { file, found, stated }) }
}

/// The configuration record: first of all, in the namespace "", and a ConfigEnvelope with a Config with a channel group.
fn channel_config<'a>(public: &'a StateSummary, rows: &[NamespaceRow]) -> Result<&'a [u8], ContentError> {
    let refused = |why| ContentError::ChannelConfig { why };
    if !rows.first().is_some_and(|row| row.namespace.is_empty()) {
        return Err(refused("there is no namespace \"\""));
    }
    let envelope =
        public.channel_config.as_deref().ok_or_else(|| refused("the first record is another, or too long"))?;
    let config = bytes_field(envelope, 1).ok_or_else(|| refused("its value is no configuration envelope"))?;
    bytes_field(config, 2).ok_or_else(|| refused("its configuration has no channel group"))?;
    Ok(envelope)
}
