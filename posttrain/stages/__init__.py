"""The four stages. Each is one module with one function, `make_trainer`; `train.py` is the spine they share."""
