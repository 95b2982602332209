//! Consumers: named readers whose positions the server keeps.

mod control;
mod generations;
mod in_order;
mod manage;
mod member;
mod settings;
