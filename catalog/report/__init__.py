"""What does the state of a catalog look like on one page that anyone can open?"""
