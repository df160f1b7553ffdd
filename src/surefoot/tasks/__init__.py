"""Tasks, one file a data set family: each holds one subclass of `surefoot.data.task.TaskSource`."""
