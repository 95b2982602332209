//! What the contract does not ask of every backend: injected clocks, tasks that are left, runtimes that end.

use std::sync::Mutex;
use std::sync::mpsc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::*;
use crate::call::Call;
use crate::durable::DurableExt;
use crate::handler::handler_fn;
use crate::job::Job;
use crate::job_handle::JobState;
use crate::request::Request;
use crate::serve::Serve;

/// Both clocks in one.
#[derive(Debug, Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn unix_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn awake_millis(&self) -> i64 {
        self.unix_millis()
    }
}

fn by_hand() -> (InMemBus, impl Fn(i64)) {
    let clock = Arc::new(Hands::default());
    let bus = InMemBus::builder().clock(clock.clone()).build().unwrap();
    let other = bus.clone();
    (bus, move |millis| {
        clock.0.fetch_add(millis, Ordering::SeqCst);
        other.nudge();
    })
}

/// Waits until the runtime has no other task.
async fn no_task_is_left() {
    while Handle::current().metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_job_that_is_due_later_is_begun_by_the_timer() {
    let bus = InMemBus::new();
    let _service = bus.serve("a", |call: Call| async move { Ok(call.id().to_owned()) }).await.unwrap();
    let job = bus.enqueue(Job::new("a", "").delay(Duration::from_millis(3))).await.unwrap();
    assert_eq!(job.reply().await.unwrap().text(), Some(job.id().as_str()));
}

#[tokio::test]
async fn a_timer_that_was_armed_outside_of_a_runtime_is_armed_with_the_next_step() {
    let bus = InMemBus::new();
    let enqueuer = bus.clone();
    let job = std::thread::spawn(move || {
        let mut enqueued =
            std::pin::pin!(enqueuer.enqueue(Job::new("a", "").delay(Duration::from_millis(3))));
        match enqueued.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(job) => job.unwrap(),
            Poll::Pending => panic!("it waits for nobody"),
        }
    });
    let job = job.join().unwrap();
    let _service = bus.serve("a", |_: Call| async { Ok("done") }).await.unwrap();
    assert_eq!(job.reply().await.unwrap().text(), Some("done"));
}

#[test]
fn a_bus_outlives_the_runtime_of_its_timer_and_of_its_services() {
    let bus = InMemBus::new();
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let service = runtime.block_on(async {
            let service = bus.serve("a", |_: Call| async { Ok("done") }).await.unwrap();
            let job = bus.enqueue(Job::new("a", "").delay(Duration::from_millis(3))).await.unwrap();
            assert_eq!(job.reply().await.unwrap().text(), Some("done"));
            service
        });
        drop(runtime);
        drop(service);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let service = runtime.block_on(bus.serve("a", |_: Call| async { Ok("done") })).unwrap();
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(bus.close()).unwrap();
    runtime.block_on(service.stop()).unwrap();
}

#[test]
fn requests_and_services_need_a_runtime_and_say_so() {
    let bus = InMemBus::new();
    let poll = |mut future: BoxFuture<'_, Result<ErrorKind>>| match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(kind) => kind.unwrap(),
        Poll::Pending => panic!("it is refused at once"),
    };
    let called = poll(Box::pin(async { Ok(bus.request("a", "").await.unwrap_err().kind()) }));
    let served =
        poll(Box::pin(async { Ok(bus.serve("a", |_: Call| async { Ok(()) }).await.unwrap_err().kind()) }));
    assert_eq!((called, served), (ErrorKind::Unsupported, ErrorKind::Unsupported));
}

#[tokio::test]
async fn after_max_run_another_server_has_the_request_and_the_first_one_is_told() {
    let (bus, pass) = by_hand();
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let first = handler_fn(move |call: Call| {
        let started = started.clone();
        async move {
            started.send(call.attempt()).unwrap();
            call.cancelled().await;
            started.send(0).unwrap();
            assert_eq!(call.reply("late").await.unwrap_err().kind(), ErrorKind::LeaseLost);
            started.send(u32::MAX).unwrap();
            Ok("late as well")
        }
    });
    let serve = Serve::on("a").max_run(Duration::from_secs(5)).concurrency(1);
    let _hangs = bus.serve_with(serve, Arc::new(first)).await.unwrap();
    let caller = tokio::spawn({
        let bus = bus.clone();
        async move { bus.request("a", "").await }
    });
    assert_eq!(starts.recv().await, Some(1));
    let _other = bus.serve("a", |call: Call| async move { Ok(call.attempt().to_string()) }).await.unwrap();
    pass(5_000);
    assert_eq!(caller.await.unwrap().unwrap().text(), Some("2"));
    assert_eq!((starts.recv().await, starts.recv().await), (Some(0), Some(u32::MAX)));
}

#[tokio::test]
async fn a_deadline_is_that_of_the_clock() {
    let (bus, pass) = by_hand();
    let mut replies = bus.request_stream("a", "").await.unwrap();
    let next = tokio::spawn(async move { replies.next().await.unwrap().unwrap_err().kind() });
    pass(9_999);
    assert!(!next.is_finished());
    pass(1);
    assert_eq!(next.await.unwrap(), ErrorKind::RequestTimeout);
}

#[tokio::test]
async fn a_bus_that_is_dropped_ends_its_callers_and_leaves_no_task_behind() {
    let bus = InMemBus::new();
    let service = bus.serve("a", |call: Call| async move {
        call.cancelled().await;
        Ok(())
    });
    let service = service.await.unwrap();
    let mut waits = bus.request_stream("a", "").await.unwrap();
    let mut unserved = bus.request_stream("b", "").await.unwrap();
    tokio::task::yield_now().await;
    drop(bus);
    for replies in [&mut waits, &mut unserved] {
        assert_eq!(replies.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert!(replies.next().await.is_none());
    }
    drop((waits, unserved));
    let mut service = service;
    service.ended().await.unwrap();
    drop(service);
    no_task_is_left().await;
}

#[tokio::test]
async fn a_closed_bus_leaves_no_task_behind_though_it_is_held() {
    let bus = InMemBus::new();
    let _service = bus.serve("a", |_: Call| async { Ok("x") }).await.unwrap();
    let _job = bus.enqueue(Job::new("b", "").delay(Duration::from_secs(3600))).await.unwrap();
    bus.request("a", "").await.unwrap();
    bus.close().await.unwrap();
    no_task_is_left().await;
}

#[tokio::test]
async fn a_handler_may_hold_the_last_handle_of_the_bus() {
    let bus = InMemBus::new();
    let held = Mutex::new(Some(bus.clone()));
    let (told, ended) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let handler = handler_fn(move |_: Call| {
        let (bus, told) = (held.lock().unwrap().take(), told.lock().unwrap().take());
        async move {
            drop(bus);
            let _ = told.unwrap().send(());
            Ok(())
        }
    });
    let mut service = bus.serve_with(Serve::on("a"), Arc::new(handler)).await.unwrap();
    let mut replies = bus.request_stream("a", "").await.unwrap();
    drop(bus);
    ended.await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    service.ended().await.unwrap();
}

#[tokio::test]
async fn a_service_may_hold_the_last_handle_of_the_bus() {
    let bus = InMemBus::new();
    let held = bus.clone();
    let service = bus.serve("a", move |_: Call| {
        let bus = held.clone();
        async move { Ok(bus.publish("b", "").await?.sequence.to_string()) }
    });
    let service = service.await.unwrap();
    assert_eq!(bus.request("a", "").await.unwrap().text(), Some("1"));
    let mut replies = bus.request_stream("never", "").await.unwrap();
    drop(bus);
    drop(service);
    assert_eq!(replies.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_handler_that_finishes_while_the_bus_closes_may_still_use_it() {
    let bus = InMemBus::new();
    let (go, wait) = oneshot::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let held = bus.clone();
    let handler = handler_fn(move |call: Call| {
        let (bus, wait) = (held.clone(), wait.lock().unwrap().take());
        async move {
            call.part("started").await?;
            let _ = wait.unwrap().await;
            bus.publish("done", "").await?;
            bus.enqueue(Job::new("next", "")).await?;
            assert_eq!(bus.request("b", "").await.unwrap_err().kind(), ErrorKind::Closed);
            Ok("finished")
        }
    });
    let _service = bus.serve_with(Serve::on("a"), Arc::new(handler)).await.unwrap();
    let mut replies = bus.request_stream("a", "").await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap().text(), Some("started"));
    let mut closes = std::pin::pin!(bus.close());
    assert!(closes.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(bus.stream("a").await.unwrap_err().kind(), ErrorKind::Closed);
    go.send(()).unwrap();
    closes.await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap().text(), Some("finished"));
    assert_eq!(bus.publish("a", "").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn idle_servers_take_turns() {
    let bus = InMemBus::new();
    let mut services = Vec::new();
    for number in 0..3 {
        services.push(bus.serve("a", move |_: Call| async move { Ok(number.to_string()) }).await.unwrap());
        // So that each has begun to wait.
        tokio::task::yield_now().await;
    }
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(bus.request("a", "").await.unwrap().text().unwrap().to_owned());
    }
    answers.sort_unstable();
    assert_eq!(answers, ["0", "0", "1", "1", "2", "2"]);
}

#[tokio::test]
async fn parts_that_nobody_reads_are_kept_in_order_for_who_does() {
    const PARTS: usize = 10_000;
    let bus = InMemBus::new();
    let service = bus.serve("a", |call: Call| async move {
        for number in 0..PARTS {
            call.part(number.to_string()).await?;
        }
        Ok("end")
    });
    let _service = service.await.unwrap();
    let mut replies = bus.request_stream("a", "").await.unwrap();
    let job = bus.enqueue(Job::new("a", "")).await.unwrap();
    assert_eq!(job.reply().await.unwrap().text(), Some("end"));
    assert_eq!(job.info().await.unwrap().state, JobState::Done);
    for replies in [&mut replies, &mut job.replies().await.unwrap(), &mut job.replies().await.unwrap()] {
        for number in 0..PARTS {
            assert_eq!(replies.next().await.unwrap().unwrap().text(), Some(&*number.to_string()));
        }
        let last = replies.next().await.unwrap().unwrap();
        assert!(last.is_final() && last.text() == Some("end"));
    }
}

#[test]
fn a_bus_is_closed_from_outside_of_any_runtime_while_handlers_run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bus = InMemBus::new();
    let (started, starts) = mpsc::channel();
    let service = runtime.block_on(bus.serve("a", move |_: Call| {
        let started = started.clone();
        async move {
            started.send(()).unwrap();
            tokio::task::yield_now().await;
            Ok("done")
        }
    }));
    let caller = bus.clone();
    let reply = runtime.spawn(async move { caller.call(Request::to("a", "")).await });
    starts.recv().unwrap();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut closes = std::pin::pin!(bus.close());
    while closes.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        std::thread::park();
    }
    assert_eq!(runtime.block_on(reply).unwrap().unwrap().text(), Some("done"));
    drop(service);
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
