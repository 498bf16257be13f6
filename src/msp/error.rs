//! What can be wrong with an identity, a signature, a local MSP folder or a channel configuration.

use std::{io, path::PathBuf};

use super::{MspId, Role};

/// Why a certificate isn't usable: part of several errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not exactly one PEM block of type CERTIFICATE with nothing around it.
    #[error("it is not exactly one PEM block of type CERTIFICATE")]
    Pem,
    /// Not a DER certificate, or one that isn't encoded canonically.
    #[error("it is no canonical DER certificate")]
    Der,
    /// The key is none that identities may have.
    #[error("its key is not ECDSA P-256, ECDSA P-384 or Ed25519")]
    KeyType,
}

/// Why a revocation list isn't usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationListError {
    /// It begins as PEM and isn't.
    #[error("it is no PEM block of type X509 CRL")]
    Pem,
    /// Not a list.
    #[error("it is no DER revocation list")]
    Der,
    /// Signed in a way that can't be checked here (SHA-1, say).
    #[error("its signature algorithm is not supported: have the CA sign it with SHA-256")]
    Algorithm,
}

/// What is wrong with an identity, a signature or a local MSP folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MspError {
    /// A SerializedIdentity that doesn't decode or is over its limit.
    #[error("the serialized identity is malformed or over {limit} bytes")]
    SerializedIdentity {
        /// Bytes allowed.
        limit: usize,
    },
    /// The identity's certificate is unusable.
    #[error("the certificate of an identity of {msp_id} is unusable: {source}")]
    Certificate {
        /// The MSP ID that the identity claims.
        msp_id: MspId,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The signature isn't that of the identity, is malformed, or its S is above n/2.
    #[error("the signature by {subject:?} of {msp_id} is wrong")]
    Signature {
        /// The signer's MSP ID.
        msp_id: MspId,
        /// The signer's subject.
        subject: String,
    },
    /// No application organisation of the channel has that MSP ID.
    #[error("{msp_id} is no application organisation of the channel")]
    NotInChannel {
        /// The MSP ID that the identity claims.
        msp_id: MspId,
    },
    /// The identity breaks a rule of its organisation's MSP.
    #[error("the identity {subject:?} of {msp_id} is not valid: {reason}")]
    Invalid {
        /// The identity's MSP ID.
        msp_id: MspId,
        /// The identity's subject.
        subject: String,
        /// The rule.
        reason: InvalidReason,
    },
    /// The identity is valid, but not whom a policy asks for.
    #[error("{subject:?} of {msp_id} is not {wanted}")]
    NotPrincipal {
        /// The identity's MSP ID.
        msp_id: MspId,
        /// The identity's subject.
        subject: String,
        /// Who is asked for.
        wanted: String,
    },
    /// A role is asked for that the organisation gives to nobody.
    #[error("{msp_id} cannot tell {role} apart from others: its NodeOUs are off, or have no unit for that role")]
    NoNodeOu {
        /// The organisation.
        msp_id: MspId,
        /// The role.
        role: Role,
    },
    /// A policy of the channel isn't satisfied.
    #[error(transparent)]
    Policy(#[from] super::PolicyError),
    /// A file of the local MSP or TLS pair can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// A file is larger than any certificate or key is.
    #[error("{path} is over {limit} bytes")]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: u64,
    },
    /// The MSP folder lacks something.
    #[error("{path} holds no {what}: is this an MSP folder with signcerts/ and keystore/?")]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A folder of an MSP with more files than any has.
    #[error("{path} holds more than {limit} files: is this a folder of an MSP?")]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// Files allowed.
        limit: usize,
    },
    /// A file in an MSP folder that isn't PEM.
    #[error("{path} holds no PEM: remove it, or convert it (openssl x509 or openssl crl, -inform DER -outform PEM)")]
    NotPem {
        /// The file.
        path: PathBuf,
    },
    /// An MSP's config.yaml that can't be read.
    #[error("{path} is no MSP configuration: {reason}")]
    MspYaml {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate file isn't usable.
    #[error("{path}: {source}")]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A key file isn't usable.
    #[error("{path} holds no private key that is usable here (PEM; PKCS#8 or SEC1; ECDSA P-256 or P-384, Ed25519)")]
    KeyFile {
        /// The file.
        path: PathBuf,
    },
    /// No key belongs to the certificate.
    #[error("no key in {keys} belongs to the certificate {certificate}")]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file or folder.
        keys: PathBuf,
    },
    /// The crypto library failed to sign.
    #[error("signing as {subject:?} failed in the crypto library")]
    Signing {
        /// The signer's subject.
        subject: String,
    },
}

/// The rule of its MSP that an identity breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidReason {
    /// The leaf is a CA.
    #[error("its certificate is a CA")]
    LeafIsCa,
    /// Ed25519 needs a channel with capability V3_0.
    #[error("Ed25519 needs the channel capability V3_0")]
    KeyNeedsV3,
    /// Extended key usages, none of which is serverAuth or any: what Fabric asks of members and CAs, strangely.
    #[error("its extended key usages hold neither serverAuth nor any")]
    ExtendedKeyUsage,
    /// A critical extension that nobody here understands.
    #[error("it has a critical extension that is not understood, or must not be critical")]
    CriticalExtension,
    /// It ends before it begins, or within a second.
    #[error("its dates leave it no time to be valid")]
    Dates,
    /// Its issuer issues CAs.
    #[error("its issuer has a subordinate CA in the MSP: such a CA issues no identities")]
    IssuerIsInner,
    /// Its issuer can't be told among revocation lists.
    #[error("its issuer has no subject key identifier")]
    IssuerWithoutKeyId,
    /// A revocation list doesn't say whose it is.
    #[error("a revocation list of the organisation has no authority key identifier")]
    RevocationListWithoutKeyId,
    /// Its issuer revoked it.
    #[error("its issuer revoked it")]
    Revoked,
    /// None of its units is one that the organisation asks for.
    #[error(
        "it has none of the organizational units that the organisation asks for, certified by the CA that it names"
    )]
    Unit,
    /// A role unit, but by the wrong CA.
    #[error("another CA certified its role OU than the one that the organisation names")]
    UnitCertifiers,
    /// Not exactly one chain to the organisation's roots.
    #[error("{0} chains lead to the organisation's roots, not exactly one")]
    Chains(usize),
    /// NodeOUs are on, and it hasn't exactly one role OU.
    #[error("it has not exactly one of the role OUs")]
    Role,
    /// Not yet valid, by our own rule.
    #[error("it is not yet valid")]
    NotYetValid,
    /// Past its date, by our own rule.
    #[error("it has expired")]
    Expired,
}

/// What is wrong with a channel configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Larger than any configuration block is.
    #[error("the configuration is over {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// A message that doesn't decode.
    #[error("{what} does not decode: is this a configuration block?")]
    Decode {
        /// The message.
        what: &'static str,
        /// The decoder's word.
        source: prost::DecodeError,
    },
    /// A part that every configuration has is missing.
    #[error("{0} is missing: is this a configuration block?")]
    Missing(&'static str),
    /// The block's data isn't what its header says.
    #[error("the block's data does not match its header's data_hash: the file is damaged")]
    DataHash,
    /// An ordinary block.
    #[error("the block holds a transaction of type {0}, not a configuration (1)")]
    NotConfig(i32),
    /// The channel's name isn't one.
    #[error("the configuration's channel")]
    Channel(#[from] crate::snapshot::ChannelIdError),
    /// The channel's capabilities are too old for our MSP rules.
    #[error("the channel's capabilities are older than V1_4_3: its MSP rules are not supported")]
    Capabilities,
    /// The block is of another channel.
    #[error("the block configures channel {found}, not {wanted}")]
    OtherChannel {
        /// Its channel.
        found: crate::snapshot::ChannelId,
        /// Ours.
        wanted: crate::snapshot::ChannelId,
    },
    /// The block isn't newer than what we have.
    #[error("the block holds configuration {found}, not newer than {current}, which is in force")]
    NotNewer {
        /// Its sequence.
        found: u64,
        /// Ours.
        current: u64,
    },
    /// The block's number isn't greater than that of what we have.
    #[error("the block is number {found}, not later than {current}, whose configuration is in force")]
    NotLater {
        /// Its number.
        found: crate::snapshot::BlockNumber,
        /// Ours.
        current: crate::snapshot::BlockNumber,
    },
    /// A walk must begin with block 0.
    #[error(
        "a channel's configuration is followed from its genesis block, number 0, but the block given is number {0}"
    )]
    NotGenesis(crate::snapshot::BlockNumber),
    /// A walk left a configuration out.
    #[error(
        "the block holds configuration {found}, but the one before it is {current}: give the config blocks in between too (peer channel fetch BLOCK_NUMBER)"
    )]
    Gap {
        /// Its sequence.
        found: u64,
        /// The sequence before.
        current: u64,
    },
    /// A block of a walk was refused.
    #[error("config block {position} of those given behind the genesis block: {source}")]
    InWalk {
        /// Its place, from 1.
        position: usize,
        /// Why.
        source: Box<Self>,
    },
    /// The orderers' signatures on the block aren't what the configuration in force demands.
    #[error(
        "block {block} is not signed as configuration {sequence} demands: {source}. If the orderers were changed in between, give the config blocks in between too; else the block is not of this channel's orderers"
    )]
    NotSigned {
        /// The block.
        block: crate::snapshot::BlockNumber,
        /// The configuration whose orderers should have signed.
        sequence: u64,
        /// What is missing.
        source: Box<MspError>,
    },
    /// More signatures on a block, or consenters, than an ordering service has.
    #[error("there are more than {0} signatures on the block, or consenters in the configuration")]
    TooManySigners(usize),
    /// More policies, or access control lists, than a configuration has.
    #[error("the configuration has more than {0} policies or access control lists")]
    TooManyPolicies(usize),
    /// Groups nested deeper than any configuration's.
    #[error("the configuration's groups are nested more than {0} deep")]
    TooDeep(usize),
    /// An organisation that can't be used.
    #[error("organisation group {group:?}: {reason}")]
    Organisation {
        /// The group's name.
        group: String,
        /// What is wrong.
        reason: OrganisationError,
    },
    /// More organisations than a channel can have.
    #[error("the channel has more than {0} application organisations")]
    TooManyOrganisations(usize),
    /// A pinned MSP folder that can't be read.
    #[error(transparent)]
    MspFolder(#[from] MspError),
    /// A pinned MSP folder that can't be used.
    #[error("the MSP in {msp_dir}: {reason}")]
    PinnedMsp {
        /// The folder.
        msp_dir: PathBuf,
        /// What is wrong.
        reason: OrganisationError,
    },
    /// No application organisation at all.
    #[error("the channel has no application organisation with an X.509 MSP")]
    NoOrganisation,
}

/// What is wrong with an organisation in a channel configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrganisationError {
    /// No value MSP.
    #[error("it has no MSP")]
    NoMsp,
    /// The MSP doesn't decode.
    #[error("its MSP does not decode")]
    Decode,
    /// The MSP ID is empty, too long or holds control characters.
    #[error("its MSP ID {0:?} is not usable")]
    MspId(String),
    /// Two groups, one MSP ID, different MSPs.
    #[error("{0} is configured twice, differently")]
    Twice(MspId),
    /// No root.
    #[error("it has no root CA")]
    NoRoot,
    /// Too many CAs.
    #[error("it has more than {0} CAs of one kind")]
    TooManyCas(usize),
    /// Too many of something else.
    #[error("it has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A CA certificate that isn't usable.
    #[error("its {kind} no. {index}: {source}")]
    Ca {
        /// The list.
        kind: &'static str,
        /// Position in the list, from 0.
        index: usize,
        /// What is wrong.
        source: CertificateError,
    },
    /// A certificate in a list of CAs that is none.
    #[error("its {kind} no. {index} is not a CA")]
    NotACa {
        /// The list.
        kind: &'static str,
        /// Position in the list, from 0.
        index: usize,
    },
    /// A CA without subject key identifier.
    #[error("its {kind} no. {index} has no subject key identifier")]
    CaWithoutKeyId {
        /// The list.
        kind: &'static str,
        /// Position in the list, from 0.
        index: usize,
    },
    /// A CA that constrains names: those rules aren't followed here.
    #[error("its {kind} no. {index} has name constraints, which are not supported")]
    NameConstraints {
        /// The list.
        kind: &'static str,
        /// Position in the list, from 0.
        index: usize,
    },
    /// A root that didn't sign itself, or mustn't.
    #[error("its root CA no. {index} is not signed by itself: is it an intermediate CA?")]
    NotSelfSigned {
        /// Position in the list, from 0.
        index: usize,
    },
    /// A CA that the MSP's own rules refuse.
    #[error("its {kind} no. {index} is not valid: {reason}")]
    InvalidCa {
        /// The list.
        kind: &'static str,
        /// Position in the list, from 0.
        index: usize,
        /// The rule.
        reason: InvalidReason,
    },
    /// A revocation list that isn't usable.
    #[error("its revocation list no. {index}: {source}")]
    RevocationList {
        /// Position in the list, from 0.
        index: usize,
        /// What is wrong.
        source: RevocationListError,
    },
    /// A unit that a CA must certify, which isn't one that can.
    #[error("the CA that it names for the unit {unit:?} is none of its CAs, or one above others")]
    UnitCertifier {
        /// The unit, at most 256 characters.
        unit: String,
    },
    /// A listed admin that isn't a certificate.
    #[error("its admin no. {index}: {source}")]
    AdminCertificate {
        /// Position in the list, from 0.
        index: usize,
        /// What is wrong.
        source: CertificateError,
    },
    /// A listed admin who is no member, or neither client nor admin.
    #[error("its admin no. {index} is not valid: {reason}")]
    Admin {
        /// Position in the list, from 0.
        index: usize,
        /// The rule.
        reason: InvalidReason,
    },
    /// Nobody can be its admin.
    #[error("it has no admin: neither a listed one nor an admin NodeOU")]
    NoAdmin,
    /// Hash functions that Fabric doesn't have.
    #[error("its crypto configuration names {0:?}, which is no hash that Fabric has")]
    Hash(String),
}
