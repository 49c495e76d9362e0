"""From a manifest to a batch on the device: order, fetch, decode, augment, batch."""
