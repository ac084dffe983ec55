"""Images: where they come from, how they are rescaled, cropped and batched."""
