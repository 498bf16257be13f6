//! Reading trust rules: Fabric's policy language (fabric: common/policydsl), the words of implicit meta policies, and paths.
//!
//! ```text
//! rule      := gate | ("ANY" | "ALL" | "MAJORITY") NAME | "/Channel/Application/" NAME { "/" NAME }
//! gate      := ("And" | "AND" | "Or" | "OR") "(" arg { "," arg } [","] ")"
//!            | ("OutOf" | "outof" | "OUTOF") "(" number "," arg { "," arg } [","] ")"
//! arg       := principal | gate
//! principal := quote ORG "." ROLE quote      quote = ' or "; number may be quoted too
//! ```
//!
//! Of what Fabric takes we leave out, on purpose: numbers with a fraction, sums, text in quotes that is a gate, and thresholds that
//! are always (0) or never (n + 1) met.

use super::{
    RuleError,
    signature_policy::{Rule, SignaturePolicy},
    tree::{Implicit, Quantity},
};
use crate::msp::{MspId, Principal, PrincipalRole};

/// Longest rule: a thousand principals with long MSP IDs.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 10;
/// How deep gates may nest: people write two or three.
pub(super) const DEPTH_MAX: usize = 16;
/// Most gates and principals: one for each of a channel's thousand organisations, and then some.
pub(super) const ENTRIES_MAX: usize = 2048;
/// How much of a rule a message shows.
const SHOWN_CHARS_MAX: usize = 200;

/// Where the paths that a rule may name begin.
const APPLICATION: &str = "/Channel/Application/";

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A gate, and at which byte of the text each of its identities stands.
    Gate { policy: SignaturePolicy, positions: Vec<usize> },
    /// So many of the application organisations' policies of a name.
    Implicit(Implicit),
    /// A policy of the channel's configuration.
    Path(String),
}

pub(super) fn parse(text: &str) -> Result<Meaning, RuleError> {
    let mut parser = Parser { text, at: 0, entries: 0 };
    parser.rule().map_err(|Unread { at, reason }| RuleError::Syntax {
        text: shown(text),
        position: in_chars(text, at),
        reason,
    })
}

/// A byte's place as people count: in characters from 1.
pub(super) fn in_chars(text: &str, at: usize) -> usize {
    text.get(..at).map_or(0, |before| before.chars().count()) + 1
}

/// As much of a rule as a message shows.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

/// A policy of the gate's kind from a tree: each occurrence of a principal is an identity of its own, numbered as Fabric's evaluation
/// meets them, inner gates first.
pub(super) fn gate(node: Node) -> Meaning {
    let mut identities = Vec::new();
    let mut positions = Vec::new();
    let rule = number(node, &mut identities, &mut positions);
    Meaning::Gate { policy: SignaturePolicy { rule, identities }, positions }
}

/// A gate or a principal, as written.
pub(super) enum Node {
    Principal { msp_id: MspId, role: PrincipalRole, position: usize },
    Gate { needed: usize, args: Vec<Self> },
}

fn number(node: Node, identities: &mut Vec<Option<Principal>>, positions: &mut Vec<usize>) -> Rule {
    match node {
        Node::Principal { msp_id, role, position } => {
            identities.push(Some(Principal::Role { msp_id, role }));
            positions.push(position);
            Rule::SignedBy(identities.len() - 1)
        }
        Node::Gate { needed, args } => {
            let inner = |arg| match arg {
                gate @ Node::Gate { .. } => Err(number(gate, identities, positions)),
                principal @ Node::Principal { .. } => Ok(principal),
            };
            let args: Vec<Result<Node, Rule>> = args.into_iter().map(inner).collect();
            let rules =
                args.into_iter().map(|arg| arg.map_or_else(|rule| rule, |arg| number(arg, identities, positions)));
            Rule::OutOf { needed: i32::try_from(needed).unwrap_or(i32::MAX), rules: rules.collect() }
        }
    }
}

/// What is wrong, and at which byte.
struct Unread {
    at: usize,
    reason: String,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    entries: usize,
}

/// How many arguments of a gate must be met.
enum Needed {
    All,
    One,
    Given,
}

impl<'a> Parser<'a> {
    fn rule(&mut self) -> Result<Meaning, Unread> {
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(self.unread(0, format!("it is over {TEXT_BYTES_MAX} bytes")));
        }
        self.space();
        let start = self.at;
        let meaning = match self.peek() {
            None => return Err(self.unread(start, "it is empty")),
            Some('/') => self.path()?,
            Some('\'' | '"') => {
                return Err(
                    self.unread(start, "a principal alone is no rule: put it in a gate, as in OR('Org1MSP.peer')")
                );
            }
            Some(_) => match self.word() {
                "ANY" => self.implicit(Quantity::Any)?,
                "ALL" => self.implicit(Quantity::All)?,
                "MAJORITY" => self.implicit(Quantity::Majority)?,
                word => gate(self.gate(start, word, 1)?),
            },
        };
        self.space();
        if self.peek().is_some() {
            return Err(self.unread(self.at, "the rule should end here"));
        }
        Ok(meaning)
    }

    fn path(&mut self) -> Result<Meaning, Unread> {
        let start = self.at;
        let path = self.take(|char| is_name(char) || char == '/');
        let below = path.strip_prefix(APPLICATION);
        if below.is_none_or(|below| below.split('/').any(str::is_empty)) {
            return Err(self.unread(start, format!("a path of the form {APPLICATION}Endorsement was expected")));
        }
        Ok(Meaning::Path(path.to_owned()))
    }

    fn implicit(&mut self, quantity: Quantity) -> Result<Meaning, Unread> {
        self.space();
        let start = self.at;
        let name = self.take(is_name);
        if name.is_empty() {
            return Err(self.unread(start, "the name of a policy was expected, as in MAJORITY Endorsement"));
        }
        Ok(Meaning::Implicit(Implicit { quantity, sub_policy: name.to_owned() }))
    }

    /// Behind the gate's word, which began at `start`.
    fn gate(&mut self, start: usize, word: &str, depth: usize) -> Result<Node, Unread> {
        let needed = match word {
            "And" | "AND" => Needed::All,
            "Or" | "OR" => Needed::One,
            "OutOf" | "outof" | "OUTOF" => Needed::Given,
            word => return Err(self.unread(start, not_a_gate(word))),
        };
        if depth > DEPTH_MAX {
            return Err(self.unread(start, format!("gates are nested more than {DEPTH_MAX} deep")));
        }
        self.entry(start)?;
        self.expect('(', || format!("'(' was expected behind {word}"))?;
        let threshold = match needed {
            Needed::Given => {
                let number = self.threshold()?;
                self.expect(',', || "',' was expected behind the number".to_owned())?;
                Some(number)
            }
            Needed::All | Needed::One => None,
        };
        let mut args = Vec::new();
        loop {
            self.space();
            if self.peek() == Some(')') && !args.is_empty() {
                break;
            }
            args.push(self.arg(depth)?);
            self.space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(')') => break,
                _ => return Err(self.unread(self.at, "',' or ')' was expected")),
            }
        }
        self.at += 1;
        let count = args.len();
        let needed = match (needed, threshold) {
            (Needed::Given, Some((_, needed))) if (1..=count).contains(&needed) => needed,
            (Needed::Given, threshold) => {
                let at = threshold.map_or(start, |(at, _)| at);
                return Err(self.unread(
                    at,
                    format!("a number from 1 to {count} was expected, as there are {count} to choose from"),
                ));
            }
            (Needed::All, _) => count,
            (Needed::One, _) => 1,
        };
        Ok(Node::Gate { needed, args })
    }

    fn arg(&mut self, depth: usize) -> Result<Node, Unread> {
        let start = self.at;
        match self.peek() {
            Some('\'' | '"') => {
                self.entry(start)?;
                let quoted = self.quoted()?;
                self.principal(start, quoted)
            }
            Some(char) if char.is_ascii_alphabetic() => {
                let word = self.word();
                if self.peek() == Some('.') {
                    return Err(self.unread(start, "a principal must be in quotes, as in 'Org1MSP.peer'"));
                }
                self.gate(start, word, depth + 1)
            }
            _ => Err(self.unread(start, "a principal such as 'Org1MSP.peer', or a gate, was expected")),
        }
    }

    fn principal(&self, start: usize, quoted: &str) -> Result<Node, Unread> {
        let Some((org, role)) = quoted.rsplit_once('.').filter(|(org, _)| !org.is_empty()) else {
            return Err(self.unread(start, "a principal is an MSP ID, a dot and a role, as in 'Org1MSP.peer'"));
        };
        let role = match role {
            "admin" => PrincipalRole::Admin,
            "member" => PrincipalRole::Member,
            "client" => PrincipalRole::Client,
            "peer" => PrincipalRole::Peer,
            "orderer" => PrincipalRole::Orderer,
            _ => {
                return Err(
                    self.unread(start, "the role must be admin, member, client, peer or orderer, in lower case")
                );
            }
        };
        let legal = org.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-'));
        let Some(msp_id) = MspId::new(org).filter(|_| legal) else {
            return Err(self.unread(
                start,
                "an MSP ID in a rule has at most 256 letters, digits, '.' and '-'; for others write MAJORITY Endorsement or the like",
            ));
        };
        Ok(Node::Principal { msp_id, role, position: start })
    }

    /// The number of an OutOf and where it stands; whether it is in range is known only when its gate ends.
    fn threshold(&mut self) -> Result<(usize, usize), Unread> {
        self.space();
        let start = self.at;
        let digits = match self.peek() {
            Some('\'' | '"') => self.quoted()?,
            _ => self.take(|char| !matches!(char, ',' | ')' | '(') && !is_space(char)),
        };
        let whole = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        let whole = whole && (digits == "0" || !digits.starts_with('0'));
        // Over the range of its type it is over the number of arguments too.
        let number = whole.then(|| digits.parse().unwrap_or(usize::MAX));
        let number =
            number.ok_or_else(|| self.unread(start, "OutOf begins with a whole number, as in OutOf(2, ...)"))?;
        Ok((start, number))
    }

    /// The text between the quote here and the next one of its kind.
    fn quoted(&mut self) -> Result<&'a str, Unread> {
        let start = self.at;
        let rest = self.rest();
        let mut chars = rest.chars();
        let quote = chars.next().unwrap_or('\'');
        let Some((inside, _)) = chars.as_str().split_once(quote) else {
            return Err(self.unread(start, format!("the quote {quote} is not closed")));
        };
        self.at += inside.len() + 2 * quote.len_utf8();
        Ok(inside)
    }

    fn entry(&mut self, at: usize) -> Result<(), Unread> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(self.unread(at, format!("it has more than {ENTRIES_MAX} gates and principals")));
        }
        Ok(())
    }

    fn expect(&mut self, wanted: char, reason: impl FnOnce() -> String) -> Result<(), Unread> {
        self.space();
        if self.peek() != Some(wanted) {
            return Err(self.unread(self.at, reason()));
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    fn word(&mut self) -> &'a str {
        self.take(|char| char.is_ascii_alphanumeric() || char == '_')
    }

    fn space(&mut self) {
        self.take(is_space);
    }

    fn take(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|char| !part(char)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn unread(&self, at: usize, reason: impl Into<String>) -> Unread {
        Unread { at, reason: reason.into() }
    }
}

fn not_a_gate(word: &str) -> String {
    let gates = "AND(...), OR(...) or OutOf(2, ...)";
    let gate = match word.to_ascii_lowercase().as_str() {
        "and" => "AND",
        "or" => "OR",
        "outof" => "OutOf",
        _ if word.is_empty() => return format!("{gates} was expected"),
        _ => return format!("{gates} was expected, not {:?}", shown(word)),
    };
    format!("{word:?} must be written {gate}")
}

const fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r')
}

/// Characters of the names of groups and policies (fabric: common/configtx/validator.go; `_` is ours).
const fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_')
}
