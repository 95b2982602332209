#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::print_stdout)]
use rowbus::*;
use std::time::*;
#[tokio::main]
async fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let path = &a[1];
    match a[2].as_str() {
        "serve" => {
            let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await?;
            let n = a.get(3).map_or(16, |n| n.parse().unwrap());
            let mut s = bus
                .serve_with(
                    Serve::on("echo").concurrency(n),
                    std::sync::Arc::new(handler_fn(|c: Call| async move { Ok(c.payload().clone()) })),
                )
                .await?;
            println!("ready");
            s.ended().await?;
        }
        "call" => {
            let n: usize = a[3].parse().unwrap();
            let pause: u64 = a[4].parse().unwrap();
            let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await?;
            let mut v = vec![];
            for i in 0..n {
                let t = Instant::now();
                let r = bus.request("echo", vec![7u8; 128]).await?;
                assert_eq!(r.payload().len(), 128);
                if i > 20 {
                    v.push(t.elapsed());
                }
                if pause > 0 {
                    tokio::time::sleep(Duration::from_micros(pause + (i as u64 * 7919) % pause)).await;
                }
            }
            v.sort();
            println!(
                "p50 {:?} p90 {:?} p99 {:?} max {:?}",
                v[v.len() / 2],
                v[v.len() * 9 / 10],
                v[v.len() * 99 / 100],
                v[v.len() - 1]
            );
        }
        "many" => {
            let callers: usize = a[3].parse().unwrap();
            let secs: u64 = a[4].parse().unwrap();
            let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await?;
            let end = Instant::now() + Duration::from_secs(secs);
            let mut set = tokio::task::JoinSet::new();
            for _ in 0..callers {
                let bus = bus.clone();
                set.spawn(async move {
                    let mut n = 0u64;
                    while Instant::now() < end {
                        bus.request("echo", vec![7u8; 128]).await.unwrap();
                        n += 1;
                    }
                    n
                });
            }
            let n: u64 = set.join_all().await.iter().sum();
            println!("{} /s", n / secs);
        }
        "jobs" => {
            let backlog: usize = a[3].parse().unwrap();
            let count: usize = a[4].parse().unwrap();
            let conc: usize = a[5].parse().unwrap();
            let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await?;
            let t = Instant::now();
            let mut left = backlog;
            while left > 0 {
                let n = left.min(5000);
                bus.enqueue_all((0..n).map(|_| Job::new("jobs.mail", vec![1u8; 128]))).await?;
                left -= n;
            }
            println!("enqueued {:.0}/s", backlog as f64 / t.elapsed().as_secs_f64());
            let done = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let d = done.clone();
            let t = Instant::now();
            let nt = std::sync::Arc::new(tokio::sync::Notify::new());
            let n2 = nt.clone();
            let s = bus
                .serve_with(
                    Serve::on("jobs.mail").concurrency(conc),
                    std::sync::Arc::new(handler_fn(move |_c: Call| {
                        let n = d.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                        if n == count {
                            n2.notify_one();
                        }
                        async move { Ok(()) }
                    })),
                )
                .await?;
            nt.notified().await;
            println!("conc {conc}: {:.0}/s", count as f64 / t.elapsed().as_secs_f64());
            s.stop().await?;
        }
        _ => {}
    }
    Ok(())
}
