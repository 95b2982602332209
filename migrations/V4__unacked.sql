-- An event may be kept for a consumer while others around it go. pruned_through says up to where any event is gone, which
-- concerns readers without a name; these say what of it concerns consumers.
-- Up to here one is gone that some consumer had not acknowledged.
ALTER TABLE bus_retention ADD COLUMN unacked_through INTEGER NOT NULL DEFAULT 0;
-- pruned_through up to here is accounted for in unacked_through. Beyond it somebody else has removed what concerns everybody.
ALTER TABLE bus_retention ADD COLUMN spared_through INTEGER NOT NULL DEFAULT 0;
