//! Components: state machines that hear one typed message at a time and change nothing but themselves.

use crate::time::Time;

/// A state machine. `In` is all it can hear, `Out` all it can say (one variant a port), `Note` what it tells
/// observers. Observation is not behaviour: nobody may react to a note.
pub trait Component {
    /// All it can hear.
    type In;
    /// All it can say.
    type Out;
    /// What it tells observers.
    type Note;
    /// Hears one message.
    fn on(&mut self, heard: Self::In, cx: &mut Cx<Self::In, Self::Out, Self::Note>);
}

/// One reaction: when it happens, and what comes of it. Kept by the domain and reused, so that a reaction
/// allocates nothing.
#[derive(Debug)]
pub struct Cx<In, Out, Note> {
    /// When the reaction happens.
    pub now: Time,
    /// What was said, and when it leaves the component.
    pub said: Vec<(Time, Out)>,
    /// What the component will hear from itself, and when.
    pub woken: Vec<(Time, In)>,
    /// What observers are told.
    pub notes: Vec<Note>,
}

impl<In, Out, Note> Default for Cx<In, Out, Note> {
    fn default() -> Self {
        Self { now: Time::ZERO, said: Vec::new(), woken: Vec::new(), notes: Vec::new() }
    }
}

impl<In, Out, Note> Cx<In, Out, Note> {
    /// An empty context for a reaction at `now`.
    pub fn at(now: Time) -> Self {
        Self { now, ..Self::default() }
    }
    /// Says `out` after `delay`.
    pub fn say(&mut self, delay: Time, out: Out) {
        self.said.push((self.now + delay, out));
    }
    /// Says `out` at the absolute time `when`, which must not lie in the past.
    pub fn say_at(&mut self, when: Time, out: Out) {
        assert!(when >= self.now, "a message cannot leave in the past");
        self.said.push((when, out));
    }
    /// Hears `message` from itself after `delay`.
    pub fn wake(&mut self, delay: Time, message: In) {
        self.woken.push((self.now + delay, message));
    }
    /// Tells observers.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}
