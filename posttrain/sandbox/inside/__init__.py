"""What runs in the processes of the sandbox. Started by path, on the standard library alone: no posttrain."""
