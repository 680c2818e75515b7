//! How a service answers the requests of a connection.

/// What is done with a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It is read to its end, then there is an answer.
    Whole,
    /// Nobody wants it.
    Never,
    /// One piece is read, and the rest is let go of before there is an answer.
    First,
    /// Somebody reads it beside the answer.
    Beside,
    /// It is kept, unread, for some time.
    Kept,
    /// The answer's body is the request's.
    Echo,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Empty,
    Fixed,
    /// Its length is said in its head as well.
    Said,
    Large,
    /// Its length is not known.
    Unknown,
    Trailers,
    /// It has a body where none may be.
    NoContent,
    NotModified,
    /// Its body breaks off.
    Broken,
    /// Its body is shorter than it says, or longer.
    Short,
    Long,
    /// Another protocol follows, where that was asked for.
    Switch,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub reading: Reading,
    /// Steps until the body is read, until there is an answer, and in front of its pieces.
    pub waits: [usize; 3],
    pub kind: Kind,
    /// Whether the connection is to end with the answer.
    pub closes: bool,
}

/// Two plans, by turns.
#[derive(Clone, Copy, Debug)]
pub struct Plans(pub [[u8; 2]; 2]);

impl Plans {
    /// Every body is read to its end, and every request answered.
    pub const ATTENTIVE: Self = Self([[0, 0]; 2]);

    /// For the request of this number.
    pub fn of(self, number: usize) -> Plan {
        let [reading, answer] = self.0[number % 2];
        let wait = |bits: u8| usize::from(bits & 3);
        Plan {
            reading: match reading & 7 {
                1 => Reading::Never,
                2 => Reading::First,
                3 => Reading::Beside,
                4 => Reading::Kept,
                5 => Reading::Echo,
                _ => Reading::Whole,
            },
            waits: [wait(reading >> 3), wait(reading >> 5), wait(answer >> 5)],
            kind: match answer & 15 {
                0 => Kind::Empty,
                1 => Kind::Said,
                2 => Kind::Unknown,
                3 => Kind::Trailers,
                4 => Kind::NoContent,
                5 => Kind::NotModified,
                6 => Kind::Broken,
                7 => Kind::Short,
                8 => Kind::Long,
                9 => Kind::Switch,
                10 => Kind::Large,
                _ => Kind::Fixed,
            },
            closes: answer & 16 != 0,
        }
    }
}
