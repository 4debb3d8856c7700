//! Software as `async fn`: a task asks its CPU for something, is pending until the answer is stored, and is then
//! polled again. No waker, no executor, no allocation per await.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

#[derive(Debug)]
enum Slot<Ask, Answer> {
    Empty,
    Asked(Ask),
    Waiting,
    Answered(Answer),
}

/// A task's line to its CPU. Exactly one question may be open at a time.
#[derive(Debug)]
pub struct Port<Ask, Answer>(Arc<Mutex<Slot<Ask, Answer>>>);

impl<Ask, Answer> Clone for Port<Ask, Answer> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Ask, Answer> Port<Ask, Answer> {
    /// Asks the CPU and waits, in simulated time, for its answer.
    pub fn ask(&self, question: Ask) -> impl Future<Output = Answer> + Send + use<'_, Ask, Answer>
    where
        Ask: Send + Unpin,
        Answer: Send,
    {
        Question { port: self, question: Some(question) }
    }
}

struct Question<'a, Ask, Answer> {
    port: &'a Port<Ask, Answer>,
    question: Option<Ask>,
}

impl<Ask: Unpin, Answer> Future for Question<'_, Ask, Answer> {
    type Output = Answer;
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        let port = self.port;
        let mut slot = port.0.lock();
        if let Some(question) = self.question.take() {
            assert!(matches!(*slot, Slot::Empty), "a task asked twice at once");
            *slot = Slot::Asked(question);
            return Poll::Pending;
        }
        match std::mem::replace(&mut *slot, Slot::Empty) {
            Slot::Answered(answer) => Poll::Ready(answer),
            other => {
                *slot = other;
                Poll::Pending
            }
        }
    }
}

/// What a task did when it was resumed.
#[derive(Debug, PartialEq, Eq)]
pub enum Yielded<Ask> {
    /// It asks, and must be resumed with the answer.
    Asked(Ask),
    /// It has returned.
    Finished,
}

/// Sequential software that runs on a simulated CPU.
pub struct Task<Ask, Answer> {
    name: String,
    port: Port<Ask, Answer>,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<Ask, Answer> std::fmt::Debug for Task<Ask, Answer> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<Ask, Answer> Task<Ask, Answer> {
    /// A task that has not started. `body` gets the port through which it asks.
    pub fn new<F>(name: impl Into<String>, body: impl FnOnce(Port<Ask, Answer>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let port = Port(Arc::new(Mutex::new(Slot::Empty)));
        let future = Box::pin(body(port.clone()));
        Self { name: name.into(), port, future }
    }
    /// What the task is called in traces.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Runs the task until it asks or returns. The first call starts it and takes no answer; every later call
    /// brings the answer to the question before.
    pub fn resume(&mut self, answer: Option<Answer>) -> Yielded<Ask> {
        if let Some(answer) = answer {
            let mut slot = self.port.0.lock();
            assert!(matches!(*slot, Slot::Waiting), "an answer without a question");
            *slot = Slot::Answered(answer);
        }
        match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => Yielded::Finished,
            Poll::Pending => {
                let mut slot = self.port.0.lock();
                match std::mem::replace(&mut *slot, Slot::Waiting) {
                    Slot::Asked(question) => Yielded::Asked(question),
                    _ => panic!("task {} awaits something that is not its CPU", self.name),
                }
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_task_asks_and_is_answered() {
        let seen = Arc::new(Mutex::new(0));
        let out = Arc::clone(&seen);
        let mut task = Task::<u32, u32>::new("adder", move |port| async move {
            let a = port.ask(1).await;
            let b = port.ask(2).await;
            *out.lock() = a + b;
        });
        assert_eq!(task.resume(None), Yielded::Asked(1));
        assert_eq!(task.resume(Some(10)), Yielded::Asked(2));
        assert_eq!(task.resume(Some(20)), Yielded::Finished);
        assert_eq!(*seen.lock(), 30);
    }
}
