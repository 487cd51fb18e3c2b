mod anything;
mod layer;
mod machines;
mod pair;
