mod layer;
mod machines;
mod pair;
