"""The stores of wwauth, one module each; import them from `wwauth.stores`, which loads each on first use."""
