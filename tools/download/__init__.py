"""Public weights and datasets: fetched, compared with what is published, unpacked where the scripts look for them."""
